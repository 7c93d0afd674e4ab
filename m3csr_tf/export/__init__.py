"""Exports towers as SavedModels: signatures, requests, warm-up, TF Serving files. It knows nothing of training."""
