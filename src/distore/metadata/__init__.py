"""Records beside the content: images."""
