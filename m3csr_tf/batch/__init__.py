"""Batch jobs on a release: top-N lists for users, and vectors of items."""
