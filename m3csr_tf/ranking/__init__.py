"""Top-k and exact full ranking, in blocks. It knows nothing of models."""
