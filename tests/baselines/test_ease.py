from __future__ import annotations

import numpy as np
import pytest
from small_log import log_of, scores

from m3csr_tf.baselines import ease
from m3csr_tf.baselines.ease import EASE, item_weights


def direct(clicks: np.ndarray, penalty: float) -> np.ndarray:
    """Steck's closed form, as it is printed."""
    inverse = np.linalg.inv(clicks.T @ clicks + penalty * np.eye(clicks.shape[1]))
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


def test_ease_on_three_items_is_the_closed_form() -> None:
    clicks = np.array([[1, 1, 0], [1, 1, 1], [1, 0, 0], [0, 0, 1]])
    expected = clicks @ direct(clicks, 2.0)
    np.testing.assert_allclose(scores(EASE.fit(log_of(clicks), {"penalty": 2.0})), expected, rtol=1e-6, atol=1e-7)


def test_blocks_do_not_change_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    clicks = (random.random((90, 30)) < 0.3).astype(float)
    monkeypatch.setattr(ease, "_BLOCK", 7)
    np.testing.assert_allclose(item_weights(log_of(clicks).clicks, 3.0), direct(clicks, 3.0), rtol=1e-9, atol=1e-12)


def test_fewer_users_than_items_give_the_same_weights_through_the_smaller_matrix() -> None:
    random = np.random.default_rng(0)
    for shape in ((6, 30), (30, 6)):
        clicks = (random.random(shape) < 0.3).astype(float)
        np.testing.assert_allclose(item_weights(log_of(clicks).clicks, 3.0), direct(clicks, 3.0), rtol=1e-9, atol=1e-12)


def test_each_item_is_predicted_from_the_others_as_a_ridge_regression_would() -> None:
    random = np.random.default_rng(1)
    clicks = (random.random((50, 4)) < 0.4).astype(float)
    found = item_weights(log_of(clicks).clicks, 5.0)
    others = clicks[:, 1:]
    expected = np.linalg.solve(others.T @ others + 5.0 * np.eye(3), others.T @ clicks[:, 0])
    np.testing.assert_allclose(found[1:, 0], expected, rtol=1e-9)


def test_items_and_users_without_clicks_score_nothing() -> None:
    found = scores(EASE.fit(log_of([[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]), {"penalty": 1.0}))
    assert (found[:, [0, 3]] == 0).all() and (found[2] == 0).all()
    assert (found[:2, 1:3] > 0).all()
