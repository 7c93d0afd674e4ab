"""An experiment: models of many kinds on several data sets, tuned with the same budget, and compared in tables.

Every run is a process of its own. `settings` reads the file of an experiment, `planning` and `jobs` derive the runs,
`scheduler` and `processes` execute them, `gathering` reads what they have left, and `figures`, `tables`, `curves` and
`results` compute and write the results.
"""
