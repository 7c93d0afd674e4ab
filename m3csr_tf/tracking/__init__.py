"""Logs runs and releases to an MLflow store (`run.tracking_uri`); MLflow is imported only where one is opened."""
