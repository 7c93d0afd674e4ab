"""Exports towers as SavedModels: signatures, requests, warm-up, files for TF Serving. It knows nothing of training."""
