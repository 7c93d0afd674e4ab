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
from m3csr_tf.features.choices import Choices, score_gain
from m3csr_tf.features.content_maps import content_appeal, content_id_maps
from m3csr_tf.features.factors import affinity_factors, ials_factors, item_factors
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.training import runs, starts, steps
from m3csr_tf.training.starts import _TRUST_IN_CLICKED
from m3csr_tf.training.steps import content_maps, id_weights, make_optimizer, take_steps
from m3csr_tf.training.streams import ExampleStream
from m3csr_tf.training.training_data import TrainingData
from m3csr_tf.training.validation import Validation
from m3csr_tf.training.vectors import VectorEncoder

Start = Callable[..., tuple[Any, dict[Any, np.ndarray], TrainingData]]


@pytest.fixture
def start(untrained_run: Any, make_config: Callable[..., Config], tmp_path: Path) -> Start:
    """`start(**settings of the model)`: a started model, its weights before, and the training data."""

    def make(ials: dict[str, Any] | None = None, **settings: Any) -> tuple[Any, dict[Any, np.ndarray], TrainingData]:
        config = make_config(tmp_path, model=settings, ials=ials or {})
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
    factors = item_factors(data.clicks, table.shape[1], 0)
    unclicked = np.setdiff1d(np.arange(table.shape[0]), clicked)
    assert len(unclicked) > FIRST_ROW
    np.testing.assert_array_equal(table.numpy()[clicked], factors[clicked])
    np.testing.assert_array_equal(table.numpy()[PADDING_ROW], np.zeros(table.shape[1]))
    unclicked = unclicked[unclicked >= FIRST_ROW]
    np.testing.assert_array_equal(table.numpy()[unclicked], before[table.ref()][unclicked])
    # What is known of items without an id of their own is told by their content.
    content = {name: data.features[name] for name in model.encoder.modalities}
    maps = content_id_maps(factors, content, clicked)
    np.testing.assert_array_equal(table.numpy()[UNKNOWN_ROW], maps.intercept)
    kernels = [layer.kernel for layer in model.encoder.id_maps]
    for kernel, expected in zip(kernels, maps.kernels, strict=True):
        np.testing.assert_array_equal(kernel, expected)
    values = model.user_tower.behaviour_attention.value_kernel
    choices = Choices.draw(data.clicks, data.histories, model.config.run.seed)
    gain = score_gain(choices, factors, factors, model.config.training.history_power)
    # The gate leaves half to ids.
    np.testing.assert_allclose(values, 2 * gain * np.eye(table.shape[1]), rtol=1e-6)
    changed = {weight.ref() for weight in (table, values, *kernels)}
    for weight in model.trainable_variables:
        if weight.ref() not in changed:
            np.testing.assert_array_equal(weight, before[weight.ref()])


def test_with_shared_ids_a_new_items_adds_nothing_at_the_start(start: Start) -> None:
    model, _, _ = start(id_start="svd", new_ids="shared")
    table = model.encoder.id_embedding
    assert not model.encoder.id_maps
    np.testing.assert_array_equal(table.numpy()[:FIRST_ROW], np.zeros((FIRST_ROW, table.shape[1])))


@pytest.mark.parametrize(
    ("world", "chosen"),
    [
        ({"seed": 3, "users": 300, "items": 200, "clicks": 9000}, "svd"),
        ({"seed": 3, "users": 900, "items": 500, "clicks": 3600}, "walks"),
    ],
    ids=["dozens of clicks a user", "a few clicks a user"],
)
def test_by_default_ids_start_from_what_ranks_validation_best(
    make_run: Any, tmp_path: Path, world: dict[str, Any], chosen: str
) -> None:
    run = make_run(tmp_path, data={"world": world | {"modalities": {"visual": 12, "acoustic": 5}}})
    data = TrainingData.of(run.prepared, run.config)
    grid = [[5.0, 25.0], [80.0, 240.0]]
    alone = {"svd": {}, "walks": {}} | {f"ials {pair}": {"ials.grid": [pair]} for pair in grid}
    figures, weights = {}, {}
    for name, settings in (alone | {"ials": {"ials.grid": grid}, "auto": {"ials.grid": grid}}).items():
        kind = name.split()[0]
        config = with_settings(run.config, {"model.id_start": kind} | settings)
        model = runs.build_model(config, run.prepared)
        assert starts.start(model, data, run.prepared, config) == (chosen if kind == "auto" else kind)
        figures[name] = Validation(run.prepared, config, data, model).figures()["recall@20"]
        weights[name] = [weight.numpy() for weight in model.trainable_variables]
    for several, of in (("auto", list(alone)), ("ials", list(alone)[2:])):
        best = max(of, key=lambda name: figures[name])
        assert figures[several] == figures[best] > min(figures[name] for name in of)
        for found, expected in zip(weights[several], weights[best], strict=True):
            np.testing.assert_array_equal(found, expected)
    assert max(alone, key=lambda name: figures[name]).split()[0] == chosen


@pytest.mark.parametrize("id_start", ["svd", "walks", "ials", "xavier"])
def test_the_same_seed_starts_the_same_weights_bit_for_bit(
    untrained_run: Any, make_config: Callable[..., Config], tmp_path: Path, id_start: str
) -> None:
    started = []
    for _ in range(2):
        config = make_config(tmp_path, model={"id_start": id_start}, ials={"grid": [[20.0, 60.0]]})
        model = runs.build_model(config, untrained_run.prepared)
        starts.start(model, TrainingData.of(untrained_run.prepared, config), untrained_run.prepared, config)
        started.append([weight.numpy() for weight in model.trainable_variables])
    for one, other in zip(*started, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("kind", ["walks", "ials"])
def test_the_id_part_of_a_score_starts_as_that_of_the_factors_times_its_gain(
    start: Start, kind: str, gate: bool
) -> None:
    model, _, data = start(id_start=kind, gate=gate, ials={"grid": [[20.0, 60.0]]})
    dim = model.config.model.id_width
    if kind == "walks":
        factors = affinity_factors(data.affinities, data.clicks, dim, model.config.run.seed)
    else:
        factors = ials_factors(data.clicks, dim, (20.0, 60.0), model.config.ials, model.config.run.seed)
    choices = Choices.draw(data.clicks, data.histories, model.config.run.seed)
    gain = score_gain(choices, factors.items @ factors.values, factors.items, model.config.training.history_power)
    encoder = VectorEncoder(model, data.features)
    users = np.flatnonzero((data.histories != PADDING_ROW).any(axis=1)).astype(np.int32)
    history = data.histories[users]
    # A user's random query tilts her attention a little; without it every slot of a history weighs the same.
    model.user_tower.user_embedding.assign(tf.zeros_like(model.user_tower.user_embedding))
    known = clicked_rows(data.clicks)  # Ids of others are told by their content.
    scores = encoder.users(users, history)[:, :dim] @ encoder.items()[known, :dim].T
    mean = factors.items[history].sum(axis=1) / (history != PADDING_ROW).sum(axis=1, keepdims=True)
    # The start makes up for what the gate leaves to items with a click; new ones have less.
    delta = 0.0 if model.item_tower.gate is None else model.item_tower.gate(data.features["popularity_bin"][known])
    start_share = 1.0 if model.item_tower.gate is None else 1 - _TRUST_IN_CLICKED
    expected = gain * mean @ factors.values @ factors.items[known].T * np.ravel(1.0 - delta) / start_share
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


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
    run = make_run(tmp_path, data={"world": world}, model={"id_start": "svd"}, history={})
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


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_at_a_rate_of_0_item_ids_and_their_values_stay_as_they_are_bit_for_bit(
    untrained_run: Any, make_config: Callable[..., Config], tmp_path: Path, rate: float
) -> None:
    config = make_config(tmp_path, training={"id_rate": rate, "averaging": 0.9})
    model = runs.build_model(config, untrained_run.prepared)
    optimizer = make_optimizer(config.training, model, 20)
    model.compile(optimizer=optimizer)
    attention = model.user_tower.behaviour_attention
    held = [model.encoder.id_embedding, attention.value_kernel, attention.output_kernel]
    assert {weight.ref() for weight in held} == {weight.ref() for weight in id_weights(model)}
    others = [model.user_tower.user_embedding, *content_maps(model)]
    before = {weight.ref(): weight.numpy() for weight in held + others}
    batches = ExampleStream(TrainingData.of(untrained_run.prepared, config), config).dataset(0, 6)
    take_steps(model, iter(batches), tf.constant(6))
    averages = dict(zip((weight.ref() for weight in held), optimizer.averages(held), strict=True))
    for weight in held:
        for found in (weight.numpy(), averages[weight.ref()].numpy()):
            assert np.array_equal(found, before[weight.ref()]) == (rate == 0)
    for weight in others:
        assert (weight.numpy() != before[weight.ref()]).any()


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
