"""A content-addressable store for container images and OCI artifacts."""
