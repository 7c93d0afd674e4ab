"""Products of sparse graphs with dense tables, and the user-item graph of clicks that graph models propagate over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from scipy import sparse


def symmetric_normalised(adjacency: sparse.spmatrix | sparse.sparray) -> sparse.csr_array:
    """Normalises a symmetric adjacency matrix A to D^-1/2 A D^-1/2, where D holds its row sums.

    Args:
      adjacency: symmetric and non-negative [n, n].

    Returns:
      float32 [n, n]; rows without an entry stay empty.
    """
    matrix = sparse.csr_array(adjacency, dtype=np.float64)
    degrees = np.asarray(matrix.sum(axis=1)).ravel()
    scale = np.divide(1.0, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
    scaled = sparse.diags_array(scale) @ matrix @ sparse.diags_array(scale)
    return sparse.csr_array(scaled, dtype=np.float32)


def bipartite(clicks: sparse.spmatrix | sparse.sparray) -> sparse.csr_array:
    """Returns the adjacency matrix [users + items, users + items], users first, of clicks [users, items]."""
    return sparse.csr_array(sparse.block_array([[None, clicks], [clicks.T, None]], format="csr"))


def as_tensor(matrix: sparse.spmatrix | sparse.sparray) -> tf.SparseTensor:
    """Converts a matrix to a SparseTensor, float32, with its indices in row-major order."""
    ordered = sparse.coo_array(sparse.csr_array(matrix))
    indices = np.stack([ordered.row, ordered.col], axis=1).astype(np.int64)
    return tf.SparseTensor(indices, ordered.data.astype(np.float32), matrix.shape)


def propagated(graph: tf.SparseTensor, table: tf.Tensor) -> tf.Tensor:
    """Multiplies a symmetric graph [n, n] with a table float32 [n, width]; float32 [n, width]."""
    return tf.sparse.sparse_dense_matmul(graph, table)


def mean_of_layers(graph: tf.SparseTensor, table: tf.Tensor, layers: int) -> tf.Tensor:
    """Averages a table and its propagations over 1 to `layers` layers of the graph (LightGCN, equations 7 and 8).

    Args:
      graph: symmetric and normalised [n, n].
      table: float32 [n, width], the embeddings of layer 0.
      layers: number of propagations.

    Returns:
      float32 [n, width].
    """
    found: Sequence[tf.Tensor] = [table]
    for _ in range(layers):
        found = [*found, propagated(graph, found[-1])]
    return tf.add_n(list(found)) / (layers + 1)
