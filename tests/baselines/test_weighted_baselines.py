"""Baselines that count clicks by their weights: worked out by hand, and as ever where all clicks weigh 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from small_log import log_of, scores
from small_logs import Logs

from m3csr_tf.baselines.ials import IALS
from m3csr_tf.baselines.item_knn import ITEM_KNN
from m3csr_tf.baselines.log import Log
from m3csr_tf.baselines.registry import BASELINES, fitted
from m3csr_tf.baselines.ridge import RIDGE
from m3csr_tf.baselines.rp3beta import RP3BETA
from m3csr_tf.baselines.user_knn import USER_KNN
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.graph import ials, walks
from m3csr_tf.graph.ials import factorise
from m3csr_tf.graph.walks import item_walk

# User 0 watches A for 2 and B for 1, user 1 B for 3 and C for 0.5.
WEIGHTS = np.array([[2, 1, 0], [0, 3, 0.5]])
COSINE = {"asymmetry": 0.5, "discount": 0.0, "shrinkage": 0, "neighbours": 10}


def test_item_knn_sums_cosines_of_weights_times_the_weights_of_the_history() -> None:
    found = scores(ITEM_KNN.fit(log_of(WEIGHTS), COSINE))
    # |A| = 2, |B| = sqrt(1 + 9), |C| = 1/2; A and C share nobody.
    ab, bc = 2 * 1 / (2 * 10**0.5), 3 * 0.5 / (10**0.5 * 0.5)
    np.testing.assert_allclose(found, [[ab, 2 * ab, bc], [3 * ab, 0.5 * bc, 3 * bc]], rtol=1e-6)


def test_a_discount_of_item_knn_is_by_the_sum_of_a_users_weights() -> None:
    found = scores(ITEM_KNN.fit(log_of(WEIGHTS), COSINE | {"discount": 1.0}))
    np.testing.assert_allclose(found[0, 0], 2 * 1 / 3 / (2 * 10**0.5), rtol=1e-6)


def test_user_knn_sums_similarities_times_what_the_neighbours_weighed() -> None:
    found = scores(USER_KNN.fit(log_of(WEIGHTS), COSINE))
    # |user 0|^2 = 5, |user 1|^2 = 9.25, and they share B.
    alike = 1 * 3 / (5 * 9.25) ** 0.5
    np.testing.assert_allclose(found, [[0, 3 * alike, 0.5 * alike], [2 * alike, alike, 0]], rtol=1e-6)


def test_a_walk_goes_where_the_weight_is() -> None:
    walk = item_walk(csr_matrix(WEIGHTS), alpha=1, beta=0).toarray()
    # From B, of weight 4, over user 0 (1/4) to A (2/3), over user 1 (3/4) to C (0.5/3.5). From A over user 0 alone.
    expected = [[0, 1 / 3, 0], [1 / 4 * 2 / 3, 0, 3 / 4 / 7], [0, 6 / 7, 0]]
    np.testing.assert_allclose(walk, expected, rtol=1e-6)
    # Exponents are of chances, and beta of the sums of weights: A has 2, B 4.
    np.testing.assert_allclose(
        item_walk(csr_matrix(WEIGHTS), alpha=0.5, beta=1).toarray()[:2, :2],
        [[0, (1 / 3) ** 0.5 / 4], [(1 / 4 * 2 / 3) ** 0.5 / 2, 0]],
        rtol=1e-6,
    )


def test_rp3beta_holds_items_back_by_their_weight() -> None:
    found = scores(RP3BETA.fit(log_of(WEIGHTS), {"alpha": 1.0, "beta": 0.5}))
    # User 0: A from B, over 2^0.5; B from A (weight 2), over 4^0.5; C from B, over 0.5^0.5.
    expected = [1 / 6 / 2**0.5, 2 / 3 / 2, 3 / 28 / 0.5**0.5]
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)


def test_a_user_whose_clicks_weigh_2_leads_like_two_users_who_made_each_click_once() -> None:
    once = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 1, 1]])
    twice = np.concatenate([once, once[:1]])
    weighed = once * np.array([[2], [1], [1]])
    walked = [item_walk(csr_matrix(one.astype(float)), alpha=1, beta=0.5) for one in (weighed, twice)]
    np.testing.assert_allclose(walked[0].toarray(), walked[1].toarray(), rtol=1e-6)


def test_implicit_als_is_sure_of_a_click_by_its_weight() -> None:
    # One factor: x = sum (1 + alpha w) y / (sum y^2 + sum over the clicks of alpha w y^2 + lambda).
    others = np.array([[0.5], [1.0], [-2.0]])
    found = ials.solve_side(csr_matrix([[4.0, 0.25, 0]]), others, alpha=2.0, penalty=0.1)
    expected = (9 * 0.5 + 1.5 * 1) / (5.25 + 8 * 0.25 + 0.5 * 1 + 0.1)
    np.testing.assert_allclose(found, [[expected]])


@pytest.mark.parametrize("density", [0.1, 0.9])  # Fewer clicks than factors, and more.
def test_a_turn_of_weighted_als_is_the_direct_solution_of_each_rows_equations(density: float) -> None:
    random = np.random.default_rng(0)
    weights = (random.random((40, 25)) < density) * random.uniform(0.1, 5, (40, 25))
    others = random.standard_normal((25, 6))
    direct = []
    for line in weights:
        confidence = np.diag(1 + 8.0 * line)
        system = others.T @ confidence @ others + 0.7 * np.eye(6)
        direct.append(np.linalg.solve(system, others.T @ confidence @ (line > 0)))
    found = ials.solve_side(csr_matrix(weights), others, 8.0, 0.7)
    np.testing.assert_allclose(found, direct, rtol=1e-8, atol=1e-10)


def test_clicks_of_weight_2_are_clicks_of_twice_the_confidence() -> None:
    clicks = csr_matrix((np.random.default_rng(1).random((30, 20)) < 0.3).astype(float))
    settings: dict[str, Any] = {"factors": 4, "penalty": 2.0, "sweeps": 4}
    by_weight, by_alpha = factorise(2 * clicks, alpha=3.0, **settings), factorise(clicks, alpha=6.0, **settings)
    np.testing.assert_allclose(by_weight.items, by_alpha.items, rtol=1e-8, atol=1e-12)


def test_a_user_of_ridge_is_the_sum_of_the_weights_of_her_clicks() -> None:
    """Ridge is linear in its targets: clicks of A twice and B once make the sum of the vectors of each click."""
    content = np.random.default_rng(2).standard_normal((3, 4)).astype(np.float32)
    log = log_of(np.array([[2, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]), clip=content)
    users = RIDGE.fit(log, {"modalities": ["clip"], "penalty": 0.1}).user_vectors[np.arange(3)]
    np.testing.assert_allclose(users[0], 2 * users[1] + users[2], rtol=1e-5, atol=1e-6)


def test_with_weights_of_1_nothing_changes_in_any_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    ones = csr_matrix((random.random((60, 30)) < 0.3).astype(np.float32))
    settings: dict[str, Any] = {"factors": 8, "alpha": 5.0, "penalty": 10.0, "sweeps": 3}
    before = factorise(ones, **settings), item_walk(ones, 0.6, 0.2)
    # Weights that are all 1 have formulas of their own, which need no weight; here they are as good as any.
    nearly = ones.astype(np.float64)
    nearly.data[0] = np.nextafter(1.0, 2.0)
    after = factorise(nearly, **settings), item_walk(nearly, 0.6, 0.2)
    np.testing.assert_allclose(after[0].items, before[0].items, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(after[1].toarray(), before[1].toarray(), rtol=1e-6)
    monkeypatch.setattr(walks, "_power", lambda clicks, exponent: clicks)
    np.testing.assert_array_equal(item_walk(ones, 0.6, 0.2).toarray(), before[1].toarray())


def test_all_baselines_that_learn_from_clicks_count_their_weights(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    random = np.random.default_rng(4)
    logs.interactions["weight"] = random.uniform(0.1, 9, len(logs.interactions))
    assert logs.run().exit_code == 0
    prepared = Prepared.open(tmp_path / "runs" / "case" / "prepared")
    plain, by_weight = Log.of(prepared), Log.of(prepared, weighted=True)
    assert by_weight.clicks.data.mean() == pytest.approx(1)
    some = np.arange(2, 14)
    names = [name for name in BASELINES if name != "truth"]
    for name in names:
        baseline = BASELINES[name]
        grid = baseline.grid(plain)
        settings = dict(grid[0]) | ({} if baseline.needs is None else {"ials": IALS.grid(plain)[0]})
        first, second = (baseline.fit(log, settings) for log in (plain, by_weight))
        of_both = [np.asarray(_dense(one.user_vectors[some]) @ _dense(one.item_vectors).T) for one in (first, second)]
        assert np.isfinite(of_both[1]).all()
        assert np.array_equal(*of_both) == (not baseline.takes_weights), name
    lines: list[str] = []
    found = fitted(["popularity", "random", "ease"], prepared, tmp_path, None, lines.append, weighted=True)
    assert [one.name for one in found] == ["popularity", "random", "ease"]
    assert lines[0] == "evaluation.weighted_baselines: of random there is nothing to weigh"


def _dense(vectors: Any) -> np.ndarray:
    return vectors if isinstance(vectors, np.ndarray) else vectors.toarray()
