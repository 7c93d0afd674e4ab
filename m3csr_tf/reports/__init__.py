"""What people read about a run: an HTML page, figures as PNG and SVG, and a model card, made from its files."""
