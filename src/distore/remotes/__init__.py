"""Registries: resolving names and moving blobs."""
