"""Table 4 of the paper by simulation: recommenders are compared in a closed loop with the synthetic world."""
