"""Baselines: rivals in closed form, one module for each, with the grid of settings over which it is tuned."""
