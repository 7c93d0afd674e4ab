"""Finds the item vectors with the largest dot product: exact search and a tree behind one interface.

The package knows nothing of models. `build_index` chooses the kind of index by the configuration, and `load_index`
reads what `ItemIndex.save` has written.
"""

from m3csr_tf.index.base import ItemIndex
from m3csr_tf.index.choice import build_index, load_index
from m3csr_tf.index.table import recall_table

__all__ = ["ItemIndex", "build_index", "load_index", "recall_table"]
