"""Judging a recommender by full rankings: it ranks two arrays of vectors, whoever made them."""
