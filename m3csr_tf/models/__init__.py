"""The trained recommenders, which share one contract; each model is a file or a folder."""
