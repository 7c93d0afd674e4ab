"""What people read of a run: an HTML page, figures as PNG and SVG, a model card, made of files and plain arrays."""
