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

from m3csr_tf import columns
from m3csr_tf.config import Config, TrainingConfig, with_settings
from m3csr_tf.features.choices import Choices
from m3csr_tf.features.content_maps import content_appeal
from m3csr_tf.features.factors import affinity_factors, item_factors
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.training import runs, starts, steps
from m3csr_tf.training.starts import _TRUST_IN_CLICKED
from m3csr_tf.training.steps import content_maps, make_optimizer
from m3csr_tf.training.training_data import TrainingData
from m3csr_tf.training.validation import Validation
from m3csr_tf.training.vectors import VectorEncoder

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
        starts.start(model, data, prepared, config)
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
    np.testing.assert_array_equal(table.numpy()[:FIRST_ROW], np.zeros((FIRST_ROW, table.shape[1])))
    unclicked = unclicked[unclicked >= FIRST_ROW]
    np.testing.assert_array_equal(table.numpy()[unclicked], before[table.ref()][unclicked])
    values = model.user_tower.behaviour_attention.value_kernel
    np.testing.assert_allclose(values, 2 * np.eye(table.shape[1]), rtol=1e-6)  # The gate leaves half to ids.
    for weight in model.trainable_variables:
        if weight is not table and weight is not values:
            np.testing.assert_array_equal(weight, before[weight.ref()])


@pytest.mark.parametrize(
    ("world", "chosen"),
    [
        ({"seed": 3, "users": 300, "items": 200, "clicks": 9000}, "svd"),
        ({"seed": 3, "users": 900, "items": 500, "clicks": 3600}, "walks"),
    ],
    ids=["dozens of clicks a user", "a few clicks a user"],
)
def test_by_default_ids_start_from_what_ranks_validation_better(
    make_run: Any, tmp_path: Path, world: dict[str, Any], chosen: str
) -> None:
    run = make_run(tmp_path, data={"world": world | {"modalities": {"visual": 12, "acoustic": 5}}})
    data = TrainingData.of(run.prepared, run.config)
    figures, weights = {}, {}
    for kind in ("walks", "svd", "auto"):
        config = with_settings(run.config, {"model.id_start": kind})
        model = runs.build_model(config, run.prepared)
        assert starts.start(model, data, run.prepared, config) == (chosen if kind == "auto" else kind)
        figures[kind] = Validation(run.prepared, config, data, model).figures()["recall@20"]
        weights[kind] = [weight.numpy() for weight in model.trainable_variables]
    assert figures["auto"] == max(figures["walks"], figures["svd"]) > min(figures["walks"], figures["svd"])
    for found, expected in zip(weights["auto"], weights[chosen], strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("gate", [True, False])
def test_started_from_walks_the_id_part_of_a_score_is_that_of_the_factors(start: Start, gate: bool) -> None:
    model, _, data = start(id_start="walks", gate=gate)
    dim = model.config.model.id_width
    factors = affinity_factors(data.affinities, data.clicks, dim, model.config.run.seed)
    encoder = VectorEncoder(model, data.features)
    users = np.flatnonzero((data.histories != PADDING_ROW).any(axis=1)).astype(np.int32)
    history = data.histories[users]
    # A user's random query tilts her attention a little; without it every slot of a history weighs the same.
    model.user_tower.user_embedding.assign(tf.zeros_like(model.user_tower.user_embedding))
    scores = encoder.users(users, history)[:, :dim] @ encoder.items()[FIRST_ROW:, :dim].T
    mean = factors.items[history].sum(axis=1) / (history != PADDING_ROW).sum(axis=1, keepdims=True)
    # The start makes up for what the gate leaves to items with a click; new ones have less.
    delta = 0.0 if model.item_tower.gate is None else model.item_tower.gate(data.features["popularity_bin"][FIRST_ROW:])
    start_share = 1.0 if model.item_tower.gate is None else 1 - _TRUST_IN_CLICKED
    expected = mean @ factors.values @ factors.items[FIRST_ROW:].T * np.ravel(1.0 - delta) / start_share
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_for_a_user_without_a_history_new_items_start_ranked_by_what_their_content_says_of_popularity(
    start: Start,
) -> None:
    model, _, data = start(intensity=False)
    names = model.encoder.modalities
    appeal = content_appeal(data.clicks, {name: data.features[name] for name in names})
    expected = sum(data.features[name] @ appeal[name] for name in names)
    whole = (data.features[columns.CLUSTER_IDS] > 0).all(axis=1)
    new = np.flatnonzero((data.features[columns.POPULARITY_BIN] == 0) & whole)
    unknown = VectorEncoder(model, data.features).users(
        np.array([UNKNOWN_ROW], np.int32), np.zeros((1, data.histories.shape[1]), np.int32)
    )
    scores = unknown @ VectorEncoder(model, data.features).items()[new].T
    assert len(new) > 5
    np.testing.assert_array_equal(np.argsort(scores[0]), np.argsort(expected[new]))


@pytest.mark.parametrize("intensity_weights", ["shared", "per_modality"])
def test_intensities_start_from_choices_and_know_nothing_of_behaviour(
    start: Start, intensity_weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Choices, dict[str, np.ndarray]]] = []

    def fitted(choices: Choices, encoded: dict[str, np.ndarray], shared: bool) -> np.ndarray:
        assert shared == (intensity_weights == "shared")
        asked.append((choices, encoded))
        shape = (1 if shared else len(encoded), next(iter(encoded.values())).shape[1])
        return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)

    monkeypatch.setattr(starts, "fitted_intensity", fitted)
    model, _, data = start(intensity_weights=intensity_weights, temperature=0.5)
    behaviour, interests = np.split(model.user_tower.intensity.kernel.numpy(), [model.config.model.id_width], axis=1)
    np.testing.assert_array_equal(behaviour, np.zeros_like(behaviour))
    np.testing.assert_array_equal(interests.ravel(), 0.5 * np.arange(interests.size))
    ((choices, encoded),) = asked
    whole = {name: vectors.numpy() for name, vectors in model.encoder.modal(data.features).items()}
    expected = Choices.draw(data.clicks, data.histories, model.config.run.seed, popular=True)
    for name, vectors in encoded.items():
        for one, other in zip(choices.compared(vectors), expected.compared(whole[name]), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_behind_attention_that_starts_anywhere_intensities_stay_as_drawn(start: Start) -> None:
    model, before, _ = start(attention_start="xavier", id_start="svd")
    kernel = model.user_tower.intensity.kernel
    np.testing.assert_array_equal(kernel, before[kernel.ref()])


def test_on_the_synthetic_world_intensities_start_near_the_true_ones(make_run: Any, tmp_path: Path) -> None:
    world = {"seed": 41, "users": 1500, "items": 800, "clicks": 30_000}
    run = make_run(tmp_path, data={"world": world}, model={}, history={})
    data = TrainingData.of(run.prepared, run.config)
    model = runs.build_model(run.config, run.prepared)
    starts.start(model, data, run.prepared, run.config)
    rows = np.arange(FIRST_ROW, len(run.prepared.users), dtype=np.int32)
    learned = VectorEncoder(model, data.features).intensities(rows, data.histories[rows])
    true = run.prepared.truth()["intensities"]
    correlations = [np.corrcoef(learned[:, m], true[:, m])[0, 1] for m in range(3)]
    assert min(correlations) > 0.2 and learned.std(axis=0).min() > 0.02


def test_everything_that_maps_content_learns_slowly(start: Start) -> None:
    model, _, _ = start()
    slow = {weight.ref() for weight in content_maps(model)}
    maps = ("mapping", "appeal_", "value_kernel", "output_kernel")
    expected = {
        weight.ref()
        for weight in model.trainable_variables
        if any(part in weight.name for part in maps) and "attention_id" not in weight.name
    }
    assert slow == expected and len(slow) >= 10


@pytest.mark.parametrize(("schedule", "rates"), [("constant", [0.5] * 3), ("cosine", [0.5, 0.25, 0.0])])
def test_the_learning_rate_stays_or_falls_to_zero_at_the_last_step(
    schedule: str, rates: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainingConfig(learning_rate=0.5, schedule=schedule)
    variable = tf.Variable([[1.0]])
    monkeypatch.setattr(steps, "content_maps", lambda model: [])
    monkeypatch.setattr(steps, "id_weights", lambda model: [])
    optimizer = make_optimizer(config, SimpleNamespace(trainable_variables=[variable]), 4)
    found = []
    for step in range(5):
        optimizer.apply_gradients([(tf.constant([[1.0]]), variable)])
        if step % 2 == 0:
            found.append(float(optimizer.learning_rate))  # 0.5 (1 + cos(pi step / 4)) / 2 at steps 0, 2 and 4.
    np.testing.assert_allclose(found, rates, atol=1e-7)
