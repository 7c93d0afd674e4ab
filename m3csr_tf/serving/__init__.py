"""Releases: towers as SavedModels of plain TensorFlow ops, their index, and the manifest that ties them together."""
