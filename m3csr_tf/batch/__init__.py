"""Batch jobs on a release: top-N lists for a file of users."""
