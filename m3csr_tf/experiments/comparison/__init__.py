"""An experiment: many kinds of model on several data sets, tuned alike, run one process a run, compared in tables.

`settings` is its file, `planning` and `jobs` what follows from it, `scheduler` and `processes` carry it out,
`gathering` reads what the runs have left, and `figures`, `tables`, `curves` and `results` make of it what it came to.
"""
