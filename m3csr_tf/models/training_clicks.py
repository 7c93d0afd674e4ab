"""The training clicks as a whole, which graph models propagate over."""

from __future__ import annotations

from scipy import sparse

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ConfigError
from m3csr_tf.features.histories import click_matrix


def training_clicks(config: Config, prepared: Prepared, title: str) -> sparse.csr_matrix:
    """Who clicked what in training, binary float32 [users, items].

    Args:
      config: the run's settings.
      prepared: the data.
      title: of the model that needs them, for the error.

    Raises:
      ConfigError: they are more than `training.window_clicks`, so that training would read them in parts.
    """
    clicks = int(prepared.train_clicks.sum())
    if clicks > config.training.window_clicks:
        raise ConfigError(
            f"model.kind={config.model.kind}: {title} holds the graph of all training clicks in memory, got "
            f"{clicks:,} and training.window_clicks={config.training.window_clicks:,}; raise training.window_clicks "
            "where memory allows, or take a model that learns from windows of the log (m3csr, bpr_mf)"
        )
    return click_matrix(prepared.split(columns.TRAIN), len(prepared.users), len(prepared.items))
