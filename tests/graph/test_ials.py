"""Implicit ALS: every turn is exact."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from m3csr_tf.graph import ials
from m3csr_tf.graph.ials import factorise, solve_side


def dense_side(clicks: np.ndarray, others: np.ndarray, alpha: float, penalty: float) -> np.ndarray:
    """A row's own normal equations, F'CF + lambda I, with every entry of C."""
    solved = []
    for line in clicks:
        confidence = np.diag(1 + alpha * line)
        system = others.T @ confidence @ others + penalty * np.eye(others.shape[1])
        solved.append(np.linalg.solve(system, others.T @ confidence @ line))
    return np.array(solved)


@pytest.mark.parametrize("density", [0.1, 0.9])  # Fewer clicks than factors, and more.
def test_a_turn_is_the_direct_solution_of_each_rows_equations(density: float) -> None:
    random = np.random.default_rng(0)
    clicks = (random.random((40, 25)) < density).astype(float)
    others = random.standard_normal((25, 6))
    found = solve_side(csr_matrix(clicks), others, 8.0, 0.7)
    np.testing.assert_allclose(found, dense_side(clicks, others, 8.0, 0.7), rtol=1e-8, atol=1e-10)


def test_groups_of_rows_do_not_change_the_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    clicks, others = (random.random((60, 25)) < 0.2).astype(float), random.standard_normal((25, 6))
    monkeypatch.setattr(ials, "_CELLS", 40)
    found = solve_side(csr_matrix(clicks), others, 8.0, 0.7)
    np.testing.assert_allclose(found, dense_side(clicks, others, 8.0, 0.7), rtol=1e-8, atol=1e-10)


def test_sweeps_lower_the_objective() -> None:
    random = np.random.default_rng(2)
    clicks = (random.random((30, 20)) < 0.2).astype(float)
    values = []
    for sweeps in (1, 2, 5):
        users, items = factorise(csr_matrix(clicks), factors=4, alpha=5.0, penalty=1.0, sweeps=sweeps)
        errors = (1 + 5.0 * clicks) * (clicks - users @ items.T) ** 2
        values.append(errors.sum() + (users**2).sum() + (items**2).sum())
    assert values[0] > values[1] > values[2]


def test_the_same_seed_gives_the_same_factors_and_no_clicks_give_zeros() -> None:
    clicks = csr_matrix([[0.0, 1, 1], [0, 0, 1], [0, 0, 0]])
    settings = {"factors": 3, "alpha": 5.0, "penalty": 0.1, "sweeps": 3}
    one, other = factorise(clicks, **settings), factorise(clicks, **settings)
    assert (one.items == other.items).all()
    assert (one.items[0] == 0).all() and (one.users[2] == 0).all() and (one.users[0] != 0).any()
