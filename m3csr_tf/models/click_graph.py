"""The graph of training clicks, over which graph models propagate embeddings."""

from __future__ import annotations

import tensorflow as tf
from scipy import sparse

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ConfigError
from m3csr_tf.features.histories import click_matrix
from m3csr_tf.ops.sparse_graph import as_tensor, bipartite, symmetric_normalised


def training_clicks(config: Config, prepared: Prepared, title: str) -> sparse.csr_matrix:
    """Returns the matrix of training clicks, float32 [users, items], with a 1 where a user clicked an item.

    Its rows and columns are the rows of the id tables.

    Args:
      config: the run's settings.
      prepared: the prepared data of the run.
      title: the name of the model in the error message.

    Raises:
      ConfigError: the log has more clicks than training.window_clicks, the number that is held in memory.
    """
    clicks = int(prepared.train_clicks.sum())
    if clicks > config.training.window_clicks:
        raise ConfigError(
            f"model.kind={config.model.kind}: {title} propagates over all training clicks at once, and of the "
            f"{clicks:,} only training.window_clicks={config.training.window_clicks:,} are held in memory; raise it, "
            "or train a model that reads clicks in windows, e.g. model.kind=m3csr"
        )
    return click_matrix(prepared.split(columns.TRAIN), len(prepared.users), len(prepared.items))


def normalised_click_graph(config: Config, prepared: Prepared, title: str) -> tf.SparseTensor:
    """Returns D^-1/2 A D^-1/2 of the training clicks, float32 [users + items, users + items], with the users first.

    Arguments and errors are those of `training_clicks`.
    """
    return as_tensor(symmetric_normalised(bipartite(training_clicks(config, prepared, title))))
