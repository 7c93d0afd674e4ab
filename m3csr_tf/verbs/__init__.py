"""The verbs of the command line: verb X is the function X in the file X.py, and takes a configuration.

`release` has a function for each of its subcommands. The other files hold what several verbs share, and are named for
it. Nothing is imported here, because most verbs need TensorFlow, which takes seconds to import.
"""
