"""Measures what changes for users from one version of a recommender to another, and judges whether to publish it."""
