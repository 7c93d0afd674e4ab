"""A search for settings, judged on validation alone."""
