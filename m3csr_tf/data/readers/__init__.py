"""Readers of the layouts of raw input that docs/data.md describes, one module for each layout."""
