"""A search for settings, which are judged on validation alone."""
