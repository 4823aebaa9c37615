"""Bundled datasets, written for this package (MIT)."""
