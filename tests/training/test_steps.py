"""Where training starts from, and how its rate falls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy.sparse import csr_matrix

from m3csr_tf.config import Config, TrainingConfig
from m3csr_tf.features.factors import item_factors
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.training import runs, starts
from m3csr_tf.training.steps import make_optimizer
from m3csr_tf.training.streams import TrainingData

Start = Callable[..., tuple[Any, dict[Any, np.ndarray], TrainingData]]


@pytest.fixture
def start(untrained_run: Any, make_config: Callable[..., Config], tmp_path: Path) -> Start:
    """`start(**settings of the model)`: a started model, its weights before, and the training data."""

    def make(**settings: Any) -> tuple[Any, dict[Any, np.ndarray], TrainingData]:
        config = make_config(tmp_path, model=settings)
        prepared = untrained_run.prepared
        model = runs.build_model(config, prepared)
        data = TrainingData.of(prepared, config)
        before = {weight.ref(): weight.numpy() for weight in model.trainable_variables}
        starts.start(model, data, config)
        return model, before, data

    return make


def clicked_rows(clicks: csr_matrix) -> np.ndarray:
    return np.flatnonzero(np.diff(clicks.tocsc().indptr))


def test_ids_start_from_the_factors_of_the_clicks_and_those_of_unclicked_items_at_random(start: Start) -> None:
    model, before, data = start(id_start="svd", content_start="xavier")
    table, clicked = model.encoder.id_embedding, clicked_rows(data.clicks)
    unclicked = np.setdiff1d(np.arange(table.shape[0]), clicked)
    assert len(unclicked) > FIRST_ROW
    np.testing.assert_array_equal(table.numpy()[clicked], item_factors(data.clicks, table.shape[1], 0)[clicked])
    np.testing.assert_array_equal(table.numpy()[unclicked], before[table.ref()][unclicked])
    for weight in model.trainable_variables:
        if weight is not table:
            np.testing.assert_array_equal(weight, before[weight.ref()])


@pytest.mark.parametrize(("schedule", "rates"), [("constant", [0.5] * 3), ("cosine", [0.5, 0.25, 0.0])])
def test_the_learning_rate_stays_or_falls_to_zero_at_the_last_step(schedule: str, rates: list[float]) -> None:
    config = TrainingConfig(learning_rate=0.5, schedule=schedule, max_steps=4)
    variable = tf.Variable([[1.0]])
    optimizer = make_optimizer(config, SimpleNamespace(trainable_variables=[variable]))
    found = []
    for step in range(5):
        optimizer.apply_gradients([(tf.constant([[1.0]]), variable)])
        if step % 2 == 0:
            found.append(float(optimizer.learning_rate))  # 0.5 (1 + cos(pi step / 4)) / 2 at steps 0, 2 and 4.
    np.testing.assert_allclose(found, rates, atol=1e-7)
