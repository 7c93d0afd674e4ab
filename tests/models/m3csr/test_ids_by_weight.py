"""Initial ids that count clicks by their weights (`model.initial.by_weight`)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from m3csr_tf.config import Config, with_settings
from m3csr_tf.graph.factors import ials_factors, item_factors
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.training import runs


@pytest.fixture(scope="module")
def data(untrained_run: Any) -> TrainingData:
    """Training data of the small world; every second click weighs three times as much as the others."""
    plain = TrainingData.of(untrained_run.prepared, untrained_run.config)
    weights = np.where(np.arange(plain.clicks.nnz) % 2 == 0, 6.0, 2.0)
    matrix = csr_matrix((weights, plain.clicks.indices, plain.clicks.indptr), shape=plain.clicks.shape)
    return dataclasses.replace(plain, weights=matrix)


def ids_of(run: Any, data: TrainingData, **settings: Any) -> tuple[np.ndarray, Any]:
    """The initial ids of all items, and what the initialisation chose."""
    config: Config = with_settings(run.config, {f"model.{name}": value for name, value in settings.items()})
    config = with_settings(config, {"model.content_initialisation": "xavier", "ials.grid": [[5.0, 25.0]]})
    model = runs.build_model(config, run.prepared)
    made = model.initialise(data, run.prepared, lambda: 0.0)
    return model.encoder.id_embedding.numpy(), made


def test_weights_of_mean_1_stand_in_the_places_of_the_clicks(data: TrainingData) -> None:
    found = data.weighed_clicks()
    assert found.data.mean() == pytest.approx(1)
    np.testing.assert_allclose(found.toarray(), data.weights.toarray() / data.weights.data.mean())
    some = csr_matrix(data.clicks.multiply(np.arange(data.clicks.shape[1]) % 3 == 0))
    of_some = dataclasses.replace(data, clicks=some).weighed_clicks()
    np.testing.assert_array_equal(of_some.toarray() > 0, some.toarray() > 0)
    np.testing.assert_array_equal(of_some.toarray(), np.where(some.toarray() > 0, found.toarray(), 0))
    alike = dataclasses.replace(data, weights=None)
    assert alike.weighed_clicks() is alike.clicks


def test_ids_are_those_of_the_weighed_clicks_where_asked_for(untrained_run: Any, data: TrainingData) -> None:
    clicked = np.flatnonzero(np.diff(data.clicks.tocsc().indptr))
    crossed = []
    for by_weight, counted in ((False, data.clicks), (True, data.weighed_clicks())):
        initial = {"by_weight": by_weight, "folds": 1}
        of_svd, _ = ids_of(untrained_run, data, id_initialisation="svd", initial=initial)
        np.testing.assert_array_equal(of_svd[clicked], item_factors(counted, 12, 0)[clicked])
        of_ials, made = ids_of(untrained_run, data, id_initialisation="ials", initial=initial)
        expected = ials_factors(counted, 12, (5.0, 25.0), untrained_run.config.ials, 0)
        np.testing.assert_array_equal(of_ials[clicked], expected.items[clicked])
        crossed.append(made.cross_ids.ids)
    assert not np.allclose(*crossed)


@pytest.mark.parametrize(("kind", "weighed"), [("svd", False), ("walks", True)])
def test_what_changes_nothing_is_said(
    untrained_run: Any, data: TrainingData, kind: str, weighed: bool, capsys: Any
) -> None:
    data = data if weighed else dataclasses.replace(data, weights=None)
    if kind == "walks":
        data = TrainingData.of(untrained_run.prepared, untrained_run.config, needs_item_graph=True)
        data = dataclasses.replace(data, weights=data.clicks.astype(np.float64))
    ids_of(untrained_run, data, id_initialisation=kind, initial={"by_weight": True, "folds": 1})
    said = {
        "svd": "positives are not drawn by weight or age",
        "walks": "model.id_initialisation=walks knows no weights",
    }
    assert f"model.initial.by_weight=true changes nothing: {said[kind]}" in capsys.readouterr().err


def test_equal_weights_give_the_singular_vectors_of_the_clicks() -> None:
    """sqrt(1 / 4m) * 4 * (4n)^-a is sqrt(1 / m) * n^-a times a number that the norm of 1 takes away."""
    clicks = csr_matrix((np.random.default_rng(0).random((30, 20)) < 0.3).astype(np.float64))
    found, expected = item_factors(4 * clicks, 5, seed=1), item_factors(clicks, 5, seed=1)
    np.testing.assert_allclose(np.abs(found @ found.T), np.abs(expected @ expected.T), atol=1e-4)


def test_the_setting_is_off_unless_asked_for() -> None:
    assert not Config().m3csr.initial.by_weight
