"""Why an item is in a list: the parts of its score, and all that a release knows of one user and one item."""

from m3csr_tf.explain.explanation import Explanation, explain_pair
from m3csr_tf.explain.parts import explain, reasons

__all__ = ["Explanation", "explain", "explain_pair", "reasons"]
