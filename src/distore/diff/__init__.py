"""Layers as streams: how they are compressed, and what they change."""
