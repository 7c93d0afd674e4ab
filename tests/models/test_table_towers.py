"""Towers that read finished vectors from tables, and what they say of users who have none."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.models.tables import TableItemTower, TableUserTower

SILENT = FIRST_ROW + 2
"""A user who is known, and has no training click."""


@pytest.fixture
def users() -> TableUserTower:
    """Users (3, 4, 1) and (1, 0, 1), whose last entry meets an item's bias, and one without a training click."""
    items = TableItemTower(5, 3, tf.constant([False, False, True, True, False]))
    items.vectors.assign([[0, 0, 0], [0, 0, 0], [2, 0, 9], [0, 2, -4], [7, 7, 7]])
    tower = TableUserTower(5, 3, items, tf.constant([False, False, True, True, False]), ones=1)
    tower.put(tf.constant([[8.0, 8, 1], [8, 8, 1], [3, 4, 1], [1, 0, 1], [8, 8, 1]]))
    return tower


def vectors(users: TableUserTower, row: int, slots: list[int], items: list[int]) -> np.ndarray:
    features = {columns.USER_ROW: [row], columns.SLOTS: [slots], columns.ITEM_ROW: items}
    return users({name: tf.constant(value, tf.int32) for name, value in features.items()}).numpy()


def test_a_user_with_training_clicks_has_her_own_vector(users: TableUserTower) -> None:
    np.testing.assert_array_equal(vectors(users, FIRST_ROW, [0], [2]), [[3, 4, 1]])


@pytest.mark.parametrize("row", [UNKNOWN_ROW, SILENT])
def test_another_has_the_direction_of_her_history_and_the_usual_length(users: TableUserTower, row: int) -> None:
    # The placed users' tastes are 5 and 1 long, 3 in the mean; the history's (2, 0) + (0, 2) = (2, 2) points to (1, 1).
    # What the items are worth to everybody, 9 and -4, is no taste: its entry stays 1.
    expected = 3 / 2**0.5
    np.testing.assert_allclose(vectors(users, row, [1, -1, 0], [2, 3]), [[expected, expected, 1]], rtol=1e-6)


@pytest.mark.parametrize("row", [UNKNOWN_ROW, SILENT])
@pytest.mark.parametrize("items", [[], [UNKNOWN_ROW], [4]])
def test_one_of_whose_history_nothing_is_known_has_the_mean_vector(
    users: TableUserTower, row: int, items: list[int]
) -> None:
    # ((3, 4) + (1, 0)) / 2; item 4 has no training click, and reads the unknown row.
    slots = list(range(len(items)))
    np.testing.assert_allclose(vectors(users, row, slots, items), [[2, 2, 1]])


def test_padding_is_nobody(users: TableUserTower) -> None:
    np.testing.assert_array_equal(vectors(users, PADDING_ROW, [], []), [[0, 0, 0]])


def test_without_a_placed_user_everybody_is_zeros() -> None:
    items = TableItemTower(3, 2, tf.constant([False, False, True]))
    tower = TableUserTower(2, 2, items)
    tower.put(tf.ones([2, 2]))
    np.testing.assert_array_equal(vectors(tower, UNKNOWN_ROW, [], []), [[0, 0]])
