from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge as Reference
from small_log import log_of, scores

from m3csr_tf.baselines import ials, modalities
from m3csr_tf.baselines.content_knn import CONTENT_KNN
from m3csr_tf.baselines.ridge import RIDGE, Ridge
from m3csr_tf.baselines.ridge_ials import RIDGE_IALS

OF_IALS = {"factors": 3, "alpha": 5.0, "penalty": 0.5, "sweeps": 4}


@pytest.fixture
def content() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {"visual": random.standard_normal((12, 4)), "textual": random.standard_normal((12, 3))}


@pytest.fixture
def clicks() -> np.ndarray:
    found = (np.random.default_rng(1).random((9, 12)) < 0.4).astype(int)
    found[:, -2:] = 0  # The last two items are new.
    return found


def test_content_knn_sums_the_cosines_of_the_nearest_trained_items_in_the_history() -> None:
    # Standardised over the trained items, the first three, their vectors point along (1, 1), (-1, 1) and (0, -1).
    raw = np.array([[1.0, 1.0], [-1.0, 1.0], [0.0, -2.0], [1.0, 1.0]])
    found = scores(
        CONTENT_KNN.fit(log_of([[1, 0, 1, 0], [0, 1, 0, 0]], visual=raw), {"weights": {"visual": 1}, "neighbours": 1})
    )
    # The new item is like the first one: cosine 1 with it.
    assert found[0, 3] == pytest.approx(1) and found[1, 3] == 0


def test_content_knn_of_one_modality_does_not_look_at_the_others(clicks: np.ndarray, content: dict) -> None:
    settings = {"weights": {"visual": 1}, "neighbours": 4}
    alone = scores(CONTENT_KNN.fit(log_of(clicks, visual=content["visual"]), settings))
    np.testing.assert_array_equal(scores(CONTENT_KNN.fit(log_of(clicks, **content), settings)), alone)


def test_ridge_is_the_closed_form_up_to_an_intercept_of_each_user(clicks: np.ndarray, content: dict) -> None:
    log = log_of(clicks, **content)
    users, items = RIDGE.fit(log, {"modalities": ["visual"], "penalty": 0.5})
    trained = clicks.sum(axis=0) > 0
    expected = Reference(alpha=0.5 * trained.sum()).fit(items[trained], clicks[:, trained].T).coef_
    np.testing.assert_allclose(users[np.arange(9)], expected, atol=1e-5)
    assert items.shape == (12, 4)


def test_ridge_gives_users_without_clicks_nothing_to_rank_by(content: dict) -> None:
    clicks = np.zeros((2, 12), int)
    clicks[0, :5] = 1
    users, _ = RIDGE.fit(log_of(clicks, **content), {"modalities": ["visual"], "penalty": 0.5})
    found = users[np.arange(2)]
    assert (found[1] == 0).all() and (found[0] != 0).any()


def test_ridge_to_factors_keeps_those_of_clicked_items_and_predicts_the_others(
    clicks: np.ndarray, content: dict
) -> None:
    log = log_of(clicks, **content)
    settings = {"ials": OF_IALS, "modalities": ["visual", "textual"], "penalty": 0.3}
    users, items = RIDGE_IALS.fit(log, settings)
    factors = ials.factorise(log.clicks, **OF_IALS)
    trained = clicks.sum(axis=0) > 0
    np.testing.assert_allclose(users, factors.users, rtol=1e-5)
    np.testing.assert_allclose(items[trained], factors.items[trained], rtol=1e-5)
    inputs = modalities.standardised(log, ["visual", "textual"])
    reference = Reference(alpha=0.3 * trained.sum()).fit(inputs[trained], factors.items[trained])
    np.testing.assert_allclose(items[~trained], reference.predict(inputs[~trained]), atol=1e-5)


def test_the_eigenvectors_solve_for_every_penalty() -> None:
    content = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32) + 3
    targets = np.random.default_rng(1).standard_normal((40, 2))
    for penalty in (0.01, 1.0):
        expected = Reference(alpha=penalty * 40).fit(content, targets).coef_
        np.testing.assert_allclose(targets.T @ Ridge(content).weights(penalty), expected, atol=1e-5)


def test_each_modality_alone_and_all_together_are_tried(content: dict) -> None:
    log = log_of(np.ones((2, 12), int), **content)
    assert modalities.choices(log) == [["visual", "textual"], ["visual"], ["textual"]]
    assert modalities.choices(log_of(np.ones((2, 12), int), visual=content["visual"])) == [["visual"]]
