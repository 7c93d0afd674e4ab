"""Trained recommenders behind one contract, a folder or file a model."""
