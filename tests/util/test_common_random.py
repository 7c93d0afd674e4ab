"""Random numbers that hang on what they are about, and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3csr_tf.util.common_random import uniforms


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1, max_size=20), st.randoms())
def test_a_number_is_the_same_whatever_is_drawn_beside_it_and_in_whichever_order(
    pairs: list[tuple[int, int]], random: object
) -> None:
    users, items = np.array(pairs).T
    together = uniforms(3, "click", users, items)
    order = np.argsort(items, kind="stable")[::-1]
    np.testing.assert_array_equal(uniforms(3, "click", users[order], items[order]), together[order])
    for place, (user, item) in enumerate(pairs):
        assert uniforms(3, "click", np.array([user]), np.array([item]))[0] == together[place]


def test_numbers_are_uniform_and_those_of_users_items_purposes_and_seeds_are_independent() -> None:
    users, items = np.meshgrid(np.arange(300), np.arange(300), indexing="ij")
    drawn = uniforms(0, "click", users, items)
    assert drawn.shape == (300, 300) and 0 < drawn.min() and drawn.max() < 1
    # Of 90,000 numbers a tenth of the interval holds 9,000, give or take 90; five times that never happens.
    assert np.abs(np.histogram(drawn, 10, (0, 1))[0] - 9_000).max() < 450
    others = [uniforms(0, "like", users, items), uniforms(1, "click", users, items), drawn.T, np.roll(drawn, 1, 0)]
    for other in [*others, np.roll(drawn, 1, 1)]:
        # The standard error of a correlation of 90,000 pairs is 1/300.
        assert abs(np.corrcoef(drawn.ravel(), other.ravel())[0, 1]) < 5 / 300


def test_counters_of_other_shapes_are_broadcast() -> None:
    grid = uniforms(0, "visit", np.arange(4)[:, None], np.arange(3))
    assert grid.shape == (4, 3) and grid[2, 1] == uniforms(0, "visit", np.array([2]), np.array(1))[0]
    assert uniforms(0, "visit", np.empty(0, np.int64)).shape == (0,)


def test_the_numbers_do_not_change_from_version_to_version() -> None:
    # Written down once: a simulation that was stopped would go on with other numbers.
    assert uniforms(0, "click", np.array([0, 1]), np.array([0, 1])) == pytest.approx(EXPECTED, abs=0)


EXPECTED = [0.9837602242141508, 0.2085910534410284]
