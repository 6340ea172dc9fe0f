"""Images as the graph of their manifests: children, walk, platform selection."""
