"""Small random training data, made without a prepared folder."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import Config, ItemGraphConfig
from m3csr_tf.features.histories import click_matrix, histories
from m3csr_tf.graph.item_graph import ItemGraph
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.models.m3csr.collation import Collator
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.training.streams import ExampleStream


def training_data(users: int, items: int, clicks: int, seed: int = 0, slots: int = 5) -> TrainingData:
    """`clicks` distinct pairs, at most, of `users` and `items` beyond the reserved rows; the last item has none."""
    random = np.random.default_rng(seed)
    pairs = np.unique(
        np.stack([random.integers(0, users, clicks), random.integers(0, items - 1, clicks)], axis=1), axis=0
    )
    frame = pd.DataFrame(pairs + FIRST_ROW, columns=[columns.USER_ROW, columns.ITEM_ROW])
    rows = items + FIRST_ROW
    features = {
        columns.ITEM_ROW: np.arange(rows, dtype=np.int32),
        columns.CLUSTER_IDS: random.integers(0, 3, (rows, 1)).astype(np.int32),
        columns.POPULARITY_BIN: random.integers(0, 4, rows).astype(np.int32),
        "visual": random.normal(size=(rows, 2)).astype(np.float32),
    }
    features[columns.CLUSTER_IDS][:FIRST_ROW] = features[columns.POPULARITY_BIN][:FIRST_ROW] = 0
    features["visual"][:FIRST_ROW] = 0
    matrix = click_matrix(frame, users + FIRST_ROW, rows)
    return TrainingData(
        clicks=matrix,
        histories=histories(frame, users + FIRST_ROW, slots, seed),
        features=features,
        trained=np.asarray(matrix.sum(axis=0)).ravel() > 0,
        item_graph=ItemGraph.of(matrix, {"visual": features["visual"]}, ItemGraphConfig()),
    )


def stream(
    data: TrainingData,
    negatives: dict[str, Any] | None = None,
    seed: int = 0,
    replicas: int = 1,
    dropout: float = 0.0,
    **training: Any,
) -> ExampleStream:
    """A stream of clicks alone, whole histories, drawn negatives; `negatives` and `training` replace the defaults."""
    settings = {
        "item_id_dropout": 0.0,
        "user_id_dropout": 0.0,
        "walk_positives": 0.0,
        "positives": "per_interaction",
    } | training
    config = {
        "negatives": {"kind": "uniform", "whole_pool": 0} | (negatives or {}),
        "training": settings,
        "history": {"dropout": dropout},
        "run": {"seed": seed},
    }
    settings_tree = Config.model_validate(config)
    return ExampleStream(data, settings_tree, Collator(data, settings_tree, replicas), replicas)


def batch_of(stream: ExampleStream, step: int) -> dict[str, Any]:
    """A batch in numpy."""
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), stream.batch(tf.constant(step, tf.int64)))


def item_rows(batch: dict[str, Any], which: str) -> np.ndarray:
    """Item rows of "positive", "negative" or "query_slots"."""
    return batch["items"][columns.ITEM_ROW][batch[which]]


def users_of(batch: dict[str, Any]) -> np.ndarray:
    """User row of each example."""
    return batch["query_user"][batch["query"]]
