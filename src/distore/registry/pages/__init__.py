"""The page for people: what a registry has, as HTML that needs no script."""
