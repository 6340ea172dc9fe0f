"""The OCI distribution protocol over HTTP."""
