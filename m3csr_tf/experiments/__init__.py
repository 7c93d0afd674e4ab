"""Many runs of one command: seeds, ablations, suites, sweeps, and the tables and tests that compare them."""
