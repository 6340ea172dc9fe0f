"""Names and documents of the OCI specifications."""
