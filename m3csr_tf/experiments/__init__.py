"""Many runs by one command: seeds, ablations, suites and sweeps, with the tables and tests that compare them."""
