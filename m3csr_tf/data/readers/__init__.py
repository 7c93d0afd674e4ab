"""Layouts of raw input, one a module, as docs/data.md describes them."""
