"""Nearest item vectors by dot product: exact search and a tree, behind one interface. It knows nothing of models.

`build_index` picks the kind by the configuration, `load_index` reads what `ItemIndex.save` wrote.
"""

from m3csr_tf.index.base import ItemIndex
from m3csr_tf.index.choice import build_index, load_index
from m3csr_tf.index.table import recall_table

__all__ = ["ItemIndex", "build_index", "load_index", "recall_table"]
