"""An OCI registry over a content store."""
