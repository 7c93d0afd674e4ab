"""Utilities that know nothing of recommenders: files, documents, messages, progress, signals and threads."""
