"""Mechanisms without domain words; nothing here is public."""
