"""Figures of one run or of a whole experiment: one a file, each a function from plain tables to a matplotlib figure."""
