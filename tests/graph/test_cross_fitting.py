"""Ids for training that have not seen the clicks which it asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from m3csr_tf.config import IalsConfig
from m3csr_tf.graph.cross_fitting import CrossIds, cross_fitted_ids
from m3csr_tf.graph.factors import IdFactors, ials_factors

USERS, ITEMS, DIM, SETTING = 60, 40, 5, (10.0, 5.0)


def by_taste(seed: int = 0) -> csr_matrix:
    """Clicks of two kinds of users, each on its half of the items; the last user and the last item have none."""
    random = np.random.default_rng(seed)
    lines = np.zeros((USERS, ITEMS), np.float32)
    for user in range(USERS - 1):
        half = np.arange(user % 2, ITEMS - 1, 2)
        lines[user, random.choice(half, 6, replace=False)] = 1
    return csr_matrix(lines)


def factors_of(clicks: csr_matrix) -> IdFactors:
    return ials_factors(clicks, DIM, SETTING, IalsConfig(), seed=0)


@pytest.fixture(scope="module")
def crossed() -> tuple[csr_matrix, IdFactors, CrossIds]:
    clicks = by_taste()
    ids = cross_fitted_ids(clicks, factors_of(clicks), SETTING, 4, seed=1)
    assert ids is not None
    return clicks, factors_of(clicks), ids


def test_every_user_with_a_click_is_in_one_of_the_parts_which_are_of_like_size(
    crossed: tuple[csr_matrix, IdFactors, CrossIds],
) -> None:
    _, _, ids = crossed
    assert ids.parts[-1] == -1
    sizes = np.bincount(ids.parts[:-1])
    assert len(sizes) == len(ids.ids) == 4 and sizes.sum() == USERS - 1 and np.ptp(sizes) <= 1


def test_a_parts_ids_do_not_hang_on_what_its_users_clicked_and_others_do(
    crossed: tuple[csr_matrix, IdFactors, CrossIds],
) -> None:
    clicks, factors, ids = crossed
    changed = clicks.tolil()
    for user in np.flatnonzero(ids.parts == 2):
        changed[user] = 0
        changed[user, :6] = 1  # As many as before: the division is by their number.
    again = cross_fitted_ids(changed.tocsr(), factors, SETTING, 4, seed=1)
    assert again is not None
    np.testing.assert_array_equal(again.parts, ids.parts)
    for part in range(4):
        assert np.array_equal(again.ids[part], ids.ids[part]) == (part == 2)


def test_of_clicks_at_random_ids_say_nothing_to_those_who_clicked_them() -> None:
    random = np.random.default_rng(3)
    clicks = csr_matrix((random.random((400, 150)) < 0.04).astype(np.float32))
    factors = ials_factors(clicks, 32, (20.0, 60.0), IalsConfig(), seed=0)
    ids = cross_fitted_ids(clicks, factors, (20.0, 60.0), 4, seed=0)
    assert ids is not None

    def above_the_mean(of_user: np.ndarray) -> float:
        """Scores of a user's clicks by the mean of her others', in standard deviations of all scores of hers."""
        found = []
        for user in np.flatnonzero(np.diff(clicks.indptr) > 2):
            items, history = of_user[user], clicks[user].indices
            for own in history:
                scores = items[history[history != own]].mean(axis=0) @ factors.values @ items.T
                found.append((scores[own] - scores.mean()) / scores.std())
        return float(np.mean(found))

    known = above_the_mean(np.broadcast_to(factors.items, (400, *factors.items.shape)))
    assert known > 1
    assert abs(above_the_mean(ids.ids[ids.parts])) < 0.2


def test_items_that_nobody_of_another_part_has_clicked_have_no_id() -> None:
    clicks, alone = by_taste().tolil(), 5
    clicks[:, 7] = 0
    clicks[alone, 7] = 1
    ids = cross_fitted_ids(clicks.tocsr(), factors_of(clicks.tocsr()), SETTING, 4, seed=1)
    assert ids is not None
    np.testing.assert_array_equal((ids.ids == 0).all(axis=2)[:, 7], np.arange(4) == ids.parts[alone])
    assert (ids.ids[:, ITEMS - 1] == 0).all()


def test_the_axes_stay_where_they_were(crossed: tuple[csr_matrix, IdFactors, CrossIds]) -> None:
    _, factors, ids = crossed
    for of_part in ids.ids:
        both = np.stack([of_part[:-1].ravel(), factors.items[:-1].ravel()])
        assert np.corrcoef(both)[0, 1] > 0.9


def test_what_is_saved_is_read_again(crossed: tuple[csr_matrix, IdFactors, CrossIds], tmp_path: Path) -> None:
    _, _, ids = crossed
    ids.save(tmp_path / "ids.npz")
    for found, expected in zip(CrossIds.load(tmp_path / "ids.npz"), ids, strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


def test_fewer_users_than_parts_have_no_others_to_be_placed_by() -> None:
    clicks = by_taste()[:3]
    assert cross_fitted_ids(clicks, factors_of(clicks), SETTING, 4, seed=0) is None
