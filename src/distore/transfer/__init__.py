"""Whole images from one place to another: pull, push, copy, layouts and archives."""
