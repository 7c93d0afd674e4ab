"""Explains why an item is in a list by the parts of its score, and by all that a release knows of the pair."""

from m3csr_tf.explain.explanation import Explanation, explain_pair
from m3csr_tf.explain.parts import explain, reasons

__all__ = ["Explanation", "explain", "explain_pair", "reasons"]
