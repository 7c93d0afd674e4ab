"""Table 4 of the paper by simulation: recommenders in a closed loop with the synthetic world, side by side."""
