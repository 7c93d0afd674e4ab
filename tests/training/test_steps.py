"""Initial weights, and how the learning rate falls."""

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
from m3csr_tf.config import Config, InitialConfig, TrainingConfig, with_settings
from m3csr_tf.graph.content_maps import co_click_similarity, content_map, content_popularity_weights
from m3csr_tf.graph.factors import IdFactors, ials_factors, item_factors, item_graph_factors
from m3csr_tf.graph.id_prediction import IdPredictor, fit_id_predictor, score_gram
from m3csr_tf.graph.stacking import ContentWeights, HeldOutClicks, StackingResult, Weights
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.models.m3csr import initial_weights
from m3csr_tf.models.m3csr.layout import parts
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.training import runs
from m3csr_tf.training.steps import make_optimizer, take_steps
from m3csr_tf.training.streams import ExampleStream
from m3csr_tf.training.validation import Validated, Validation, validation_recall_of
from m3csr_tf.training.vectors import VectorEncoder

MakeInitialised = Callable[..., tuple[Any, dict[Any, np.ndarray], TrainingData]]


@pytest.fixture
def make_initialised(untrained_run: Any, make_config: Callable[..., Config], tmp_path: Path) -> MakeInitialised:
    """`make_initialised(**settings of the model)`: an initialised model, its weights before, and the training data."""

    def make(ials: dict[str, Any] | None = None, **settings: Any) -> tuple[Any, dict[Any, np.ndarray], TrainingData]:
        config = make_config(tmp_path, model=settings, ials=ials or {})
        prepared = untrained_run.prepared
        model = runs.build_model(config, prepared)
        data = TrainingData.of(prepared, config, model.needs_item_graph(config))
        before = {weight.ref(): weight.numpy() for weight in model.trainable_variables}
        model.initialise(data, prepared, validation_recall_of(model, data, prepared, config))
        return model, before, data

    return make


def clicked_rows(clicks: csr_matrix) -> np.ndarray:
    return np.flatnonzero(np.diff(clicks.tocsc().indptr))


def weighed(monkeypatch: pytest.MonkeyPatch, **weights: Any) -> Weights:
    """Lets `initialise` take these weights instead of those of held-out clicks."""
    fixed = Weights(**{"content": {}, "new_ids": 1.0, "ids": 1.0, "content_scale": 1.0} | weights)
    nothing = HeldOutClicks(csr_matrix((0, 0)), np.zeros((0, 0, 0)))
    monkeypatch.setattr(initial_weights, "stacking_weights", lambda *args: StackingResult(fixed, nothing))
    return fixed


def predictor_of(model: Any, data: TrainingData, prepared: Any, factors: IdFactors) -> IdPredictor:
    """What `initialise` fits to initial ids."""
    return fit_id_predictor(
        factors.items,
        {name: data.features[name] for name in model.encoder.modalities},
        {name: prepared.scaler.spreads(name) for name in model.encoder.modalities},
        clicked_rows(data.clicks),
        score_gram(data.clicks, factors.items @ factors.values, model.config.training.history_power),
        model.config.model.id_landmarks,
        seed=model.config.run.seed,
    )


def test_ids_are_initialised_from_the_factors_of_the_clicks_and_those_of_unclicked_items_at_random(
    make_initialised: MakeInitialised, untrained_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = weighed(monkeypatch, ids=3.0, new_ids=2.0)
    model, before, data = make_initialised(id_initialisation="svd", content_initialisation="xavier")
    table, clicked = model.encoder.id_embedding, clicked_rows(data.clicks)
    factors = item_factors(data.clicks, table.shape[1], 0)
    unclicked = np.setdiff1d(np.arange(table.shape[0]), clicked)
    assert len(unclicked) > FIRST_ROW
    np.testing.assert_array_equal(table.numpy()[clicked], factors[clicked])
    np.testing.assert_array_equal(table.numpy()[PADDING_ROW], np.zeros(table.shape[1]))
    unclicked = unclicked[unclicked >= FIRST_ROW]
    np.testing.assert_array_equal(table.numpy()[unclicked], before[table.ref()][unclicked])
    # What is known of items without an id of their own is told by their content.
    eye = np.eye(table.shape[1], dtype=np.float32)
    found = predictor_of(model, data, untrained_run.prepared, IdFactors(factors, eye))
    size = np.float32(weights.new_ids / weights.ids)
    unknown = found.mean + size * (found.intercept - found.mean)  # Mean content is placed where ids are in the mean.
    np.testing.assert_allclose(table.numpy()[UNKNOWN_ROW], unknown, rtol=1e-4, atol=1e-5)
    layer = model.encoder.id_prediction
    landmarks = len(found.landmarks)
    np.testing.assert_allclose(layer.landmark_vectors[:landmarks], found.landmarks, rtol=1e-6)
    np.testing.assert_allclose(layer.coefficients[:landmarks], size * found.coefficients, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(layer.coefficients[landmarks:], 0)
    values = model.user_tower.behaviour_attention.value_kernel
    # The gate leaves half to ids.
    np.testing.assert_allclose(values, 2 * weights.ids * np.eye(table.shape[1]), rtol=1e-6)
    changed = {weight.ref() for weight in (table, values)}
    for weight in model.trainable_variables:
        if weight.ref() not in changed:
            np.testing.assert_array_equal(weight, before[weight.ref()])


def test_with_shared_ids_that_of_a_new_item_adds_nothing_at_first(make_initialised: MakeInitialised) -> None:
    model, _, _ = make_initialised(id_initialisation="svd", new_ids="shared")
    table = model.encoder.id_embedding
    assert model.encoder.id_prediction is None
    np.testing.assert_array_equal(table.numpy()[:FIRST_ROW], np.zeros((FIRST_ROW, table.shape[1])))


@pytest.mark.parametrize(
    ("world", "chosen"),
    [
        ({"seed": 3, "users": 300, "items": 200, "clicks": 9000}, 0),
        ({"seed": 3, "users": 900, "items": 500, "clicks": 2700}, 1),
    ],
)
def test_by_default_ids_are_initialised_from_the_implicit_als_that_alone_ranks_validation_best(
    make_run: Any, tmp_path: Path, world: dict[str, Any], chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, data={"world": world | {"modalities": {"visual": 12, "acoustic": 5}}})
    data = TrainingData.of(run.prepared, run.config)
    grid = [[5.0, 25.0], [80.0, 240.0]]
    figures: list[float] = []
    validate = Validation.validate

    def spied(validation: Validation) -> Validated:
        found = validate(validation)
        figures.append(found.figures["recall@20"])
        return found

    monkeypatch.setattr(Validation, "validate", spied)

    def initialised(kind: str, pairs: list[list[float]]) -> list[np.ndarray]:
        config = with_settings(run.config, {"model.id_initialisation": kind, "ials.grid": pairs})
        model = runs.build_model(config, run.prepared)
        validation_recall = validation_recall_of(model, data, run.prepared, config)
        assert model.initialise(data, run.prepared, validation_recall).method == "ials"
        return [weight.numpy() for weight in model.trainable_variables]

    weights = initialised("auto", grid)
    assert len(figures) == len(grid) and max(figures) > min(figures) and int(np.argmax(figures)) == chosen
    for found, expected in zip(weights, initialised("ials", [grid[chosen]]), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert len(figures) == len(grid)  # One initialisation alone needs no validation.


@pytest.mark.parametrize("id_initialisation", ["svd", "walks", "ials", "xavier"])
def test_the_same_seed_initialises_the_same_weights_bit_for_bit(
    untrained_run: Any, make_config: Callable[..., Config], tmp_path: Path, id_initialisation: str
) -> None:
    initialised = []
    for _ in range(2):
        config = make_config(tmp_path, model={"id_initialisation": id_initialisation}, ials={"grid": [[20.0, 60.0]]})
        model = runs.build_model(config, untrained_run.prepared)
        data = TrainingData.of(untrained_run.prepared, config, model.needs_item_graph(config))
        validation_recall = validation_recall_of(model, data, untrained_run.prepared, config)
        model.initialise(data, untrained_run.prepared, validation_recall)
        initialised.append([weight.numpy() for weight in model.trainable_variables])
    for one, other in zip(*initialised, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("kind", ["walks", "ials"])
def test_the_parts_of_a_score_are_at_first_the_closed_forms_times_their_weights(
    make_initialised: MakeInitialised, untrained_run: Any, monkeypatch: pytest.MonkeyPatch, kind: str, gate: bool
) -> None:
    of_content = {"visual": ContentWeights(0.5, 0.2), "acoustic": ContentWeights(2.0, 0.0)}
    weights = weighed(monkeypatch, content=of_content, ids=3.0, new_ids=4.0, content_scale=0.6)
    settings = {"clusters": False, "intensity": False, "width": "half"}  # Of content, what clicks say of it alone.
    model, _, data = make_initialised(id_initialisation=kind, gate=gate, ials={"grid": [[20.0, 60.0]]}, **settings)
    dim, seed = model.config.model.id_width, model.config.run.seed
    if kind == "walks":
        factors = item_graph_factors(data.item_graph, data.clicks, dim, seed)
    else:
        factors = ials_factors(data.clicks, dim, (20.0, 60.0), model.config.ials, seed)
    encoder = VectorEncoder(model, data.features)
    users = np.flatnonzero((data.histories != PADDING_ROW).any(axis=1)).astype(np.int32)
    history = data.histories[users]
    # A user's random query tilts her attention a little; without it every slot of a history weighs the same.
    model.user_tower.user_embedding.assign(tf.zeros_like(model.user_tower.user_embedding))
    known = clicked_rows(data.clicks)
    new = np.setdiff1d(np.arange(FIRST_ROW, len(data.trained)), known)
    of_users, items = encoder.users(users, history), encoder.items()
    slices = parts(model.config.model, model.encoder.modalities)
    lengths = (history != PADDING_ROW).sum(axis=1, keepdims=True)
    behaviour = factors.items[history].sum(axis=1) / lengths @ factors.values
    content = {name: data.features[name] for name in model.encoder.modalities}
    found = predictor_of(model, data, untrained_run.prepared, factors)
    apart = found.predict(content) - found.mean
    predicted = weights.ids * found.mean + weights.new_ids * apart
    wanted = {"id": (weights.ids * behaviour @ factors.items[known].T, behaviour @ predicted[new].T)}
    for name, vectors in content.items():
        spreads = untrained_run.prepared.scaler.spreads(name)
        own = np.diag(spreads / np.sqrt(np.mean(spreads**2)))
        similarity = of_content[name].content * own
        similarity += of_content[name].co_clicks * co_click_similarity(data.clicks, vectors)
        mapped = content_map(similarity, model.encoder.modal_encoders[name].mapping.units)
        has = (vectors[history] != 0).any(axis=2).sum(axis=1, keepdims=True)
        products = (vectors @ mapped)[history].sum(axis=1) / np.maximum(has, 1) @ (vectors @ mapped).T
        # Without a gate nothing tells new items from others, and content weighs for all what it does for others.
        wanted[name] = 0.6 * products[:, known], (1.0 if gate else 0.6) * products[:, new]
    for name, of_part in wanted.items():
        for rows, expected in zip((known, new), of_part, strict=True):
            found = of_users[:, slices[name]] @ items[rows, slices[name]].T
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_for_a_user_without_a_history_new_items_are_at_first_ranked_by_what_their_content_says_of_popularity(
    make_initialised: MakeInitialised,
) -> None:
    model, _, data = make_initialised(intensity=False)
    names = model.encoder.modalities
    weights = content_popularity_weights(data.clicks, {name: data.features[name] for name in names})
    expected = sum(data.features[name] @ weights[name] for name in names)
    whole = (data.features[columns.CLUSTER_IDS] > 0).all(axis=1)
    new = np.flatnonzero((data.features[columns.POPULARITY_BIN] == 0) & whole)
    unknown = VectorEncoder(model, data.features).users(
        np.array([UNKNOWN_ROW], np.int32), np.zeros((1, data.histories.shape[1]), np.int32)
    )
    scores = unknown @ VectorEncoder(model, data.features).items()[new].T
    assert len(new) > 5
    np.testing.assert_array_equal(np.argsort(scores[0]), np.argsort(expected[new]))


@pytest.mark.parametrize("intensity_weights", ["shared", "per_modality"])
def test_intensities_are_initialised_from_held_out_clicks_and_know_nothing_of_behaviour(
    make_initialised: MakeInitialised, intensity_weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[HeldOutClicks, dict[str, np.ndarray]]] = []

    def fitted(held_out: HeldOutClicks, encoded: dict[str, np.ndarray], shared: bool, ridge: float) -> np.ndarray:
        assert ridge == InitialConfig().intensity_ridge
        assert shared == (intensity_weights == "shared")
        asked.append((held_out, encoded))
        shape = (1 if shared else len(encoded), next(iter(encoded.values())).shape[1])
        return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)

    monkeypatch.setattr(initial_weights, "fitted_intensity", fitted)
    model, _, data = make_initialised(intensity_weights=intensity_weights, temperature=0.5)
    behaviour, interests = np.split(model.user_tower.intensity.kernel.numpy(), [model.config.model.id_width], axis=1)
    np.testing.assert_array_equal(behaviour, np.zeros_like(behaviour))
    np.testing.assert_array_equal(interests.ravel(), 0.5 * np.arange(interests.size))
    ((held_out, encoded),) = asked
    assert len(held_out) > 100 and held_out.histories.shape[1] == len(data.trained)
    for name, vectors in model.encoder.modal(data.features).items():
        np.testing.assert_array_equal(encoded[name], vectors)


def test_behind_random_attention_intensities_stay_as_drawn(make_initialised: MakeInitialised) -> None:
    model, before, _ = make_initialised(attention_initialisation="xavier", id_initialisation="svd")
    kernel = model.user_tower.intensity.kernel
    np.testing.assert_array_equal(kernel, before[kernel.ref()])


def test_on_the_synthetic_world_initial_intensities_are_near_the_true_ones(make_run: Any, tmp_path: Path) -> None:
    world = {"seed": 41, "users": 1500, "items": 800, "clicks": 30_000}
    run = make_run(tmp_path, data={"world": world}, model={"id_initialisation": "svd"}, history={})
    data = TrainingData.of(run.prepared, run.config)
    model = runs.build_model(run.config, run.prepared)
    model.initialise(data, run.prepared, validation_recall_of(model, data, run.prepared, run.config))
    rows = np.arange(FIRST_ROW, len(run.prepared.users), dtype=np.int32)
    learned = VectorEncoder(model, data.features).intensities(rows, data.histories[rows])
    true = run.prepared.truth()["intensities"]
    correlations = [np.corrcoef(learned[:, m], true[:, m])[0, 1] for m in range(3)]
    assert min(correlations) > 0.5 and learned.std(axis=0).min() > 0.02


def test_everything_that_maps_content_learns_slowly(make_initialised: MakeInitialised) -> None:
    model, _, _ = make_initialised()
    slow = {weight.ref() for weight in model.content_maps()}
    maps = ("mapping", "cluster_embedding", "content_popularity_", "value_kernel", "output_kernel")
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
    id_weights = [model.encoder.id_embedding, attention.value_kernel, attention.output_kernel]
    assert {weight.ref() for weight in id_weights} == {weight.ref() for weight in model.id_weights()}
    others = [model.user_tower.user_embedding, *model.content_maps()]
    before = {weight.ref(): weight.numpy() for weight in id_weights + others}
    data = TrainingData.of(untrained_run.prepared, config)
    batches = ExampleStream(data, config, model.collator(data)).dataset(0, 6)
    take_steps(model, iter(batches), tf.constant(6))
    averages = dict(zip((weight.ref() for weight in id_weights), optimizer.averages(id_weights), strict=True))
    for weight in id_weights:
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
    optimizer = make_optimizer(config, SimpleNamespace(trainable_variables=[variable], learning_rates=dict), 4)
    found = []
    for step in range(5):
        optimizer.apply_gradients([(tf.constant([[1.0]]), variable)])
        if step % 2 == 0:
            found.append(float(optimizer.learning_rate))  # 0.5 (1 + cos(pi step / 4)) / 2 at steps 0, 2 and 4.
    np.testing.assert_allclose(found, rates, atol=1e-7)
