"""Products of sparse graphs with dense tables, and the graph of clicks as graph models read it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from scipy import sparse


def symmetric_normalised(adjacency: sparse.spmatrix | sparse.sparray) -> sparse.csr_array:
    """D^-1/2 A D^-1/2, float32, D being the row sums of a symmetric A; rows without an entry stay empty."""
    matrix = sparse.csr_array(adjacency, dtype=np.float64)
    degrees = np.asarray(matrix.sum(axis=1)).ravel()
    scale = np.divide(1.0, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
    scaled = sparse.diags_array(scale) @ matrix @ sparse.diags_array(scale)
    return sparse.csr_array(scaled, dtype=np.float32)


def bipartite(clicks: sparse.spmatrix | sparse.sparray) -> sparse.csr_array:
    """The adjacency matrix [users + items, users + items], users first, of clicks [users, items]."""
    return sparse.csr_array(sparse.block_array([[None, clicks], [clicks.T, None]], format="csr"))


def as_tensor(matrix: sparse.spmatrix | sparse.sparray) -> tf.SparseTensor:
    """A matrix as a SparseTensor with ordered indices, float32."""
    ordered = sparse.coo_array(sparse.csr_array(matrix))
    indices = np.stack([ordered.row, ordered.col], axis=1).astype(np.int64)
    return tf.SparseTensor(indices, ordered.data.astype(np.float32), matrix.shape)


def propagated(graph: tf.SparseTensor, table: tf.Tensor) -> tf.Tensor:
    """The product of a symmetric graph [n, n] with a table float32 [n, width]."""
    return tf.sparse.sparse_dense_matmul(graph, table)


def mean_of_layers(graph: tf.SparseTensor, table: tf.Tensor, layers: int) -> tf.Tensor:
    """The mean of a table and of its products with the graph, one to `layers` times (LightGCN, equations 7 and 8)."""
    found: Sequence[tf.Tensor] = [table]
    for _ in range(layers):
        found = [*found, propagated(graph, found[-1])]
    return tf.add_n(list(found)) / (layers + 1)
