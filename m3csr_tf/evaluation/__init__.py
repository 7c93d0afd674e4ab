"""Evaluation of a recommender by full rankings; all it needs are a matrix of user vectors and one of item vectors."""
