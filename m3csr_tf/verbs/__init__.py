"""What the command line can do: the verb X is the function X of the file X.py, and takes a configuration.

`release` has a function for each of its words. The other files hold what several verbs share, and are named for it.
Nothing is imported here, since most verbs need TensorFlow, which takes seconds to import.
"""
