"""Snapshots: what layers make of a folder, each kept once, in the vocabulary of containerd."""
