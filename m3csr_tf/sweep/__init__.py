"""Searching for settings: a space of them, trials judged on validation alone, a study that goes on after a kill."""
