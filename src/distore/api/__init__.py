"""The Python API: Store, Registry and copy, as ``distore`` exports them."""
