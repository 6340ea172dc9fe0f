"""The content store on a local file system."""
