"""Judging a recommender by full rankings: it ranks by two matrices of vectors, whoever made them."""
