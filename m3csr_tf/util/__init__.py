"""What knows nothing of recommenders: files, documents, messages, progress, signals, threads."""
