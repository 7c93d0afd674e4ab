"""The verbs of the command line: verb X is the function X in the file X.py, and takes a configuration.

`release` has a function for each of its subcommands, except `compare`, which is in compare_versions.py. The other files
hold what verbs share, or parts of one verb, and are named for it. Nothing is imported here, because most verbs need
TensorFlow, which takes seconds to import.
"""
