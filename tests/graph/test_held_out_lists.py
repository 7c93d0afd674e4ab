"""Lists of held-out items, by which co-clicks and predicted ids are weighed."""

from __future__ import annotations

import numpy as np
import pytest

from m3csr_tf.config import InitialConfig
from m3csr_tf.graph.held_out_lists import MOST_ITEMS, MOST_USERS, HeldOutLists, best_multipliers, sampled_clicks

CO_CLICKS, NEW_IDS = np.array([False, True, False]), np.array([False, False, True])


def lists_led_by(kind: int, users: int = 1500, items: int = 30) -> HeldOutLists:
    """Three kinds of scores, of which one is high for what users clicked."""
    random = np.random.default_rng(0)
    truth = random.random((users, items)) < 0.1
    truth[:, 0] = True
    scores = random.normal(size=(3, users, items)).astype(np.float32)
    scores[kind] += 2 * truth
    return HeldOutLists(truth, scores)


def test_ndcg_is_that_of_the_weighted_sum_of_scores() -> None:
    truth = np.array([[True, False, False], [False, True, True]])
    scores = np.array([[[3.0, 2, 1], [3, 2, 1]], [[0, 0, 0], [0, 0, 9]]], np.float32)
    # By the first kind alone the clicked item is first; two clicked ones are second and third.
    second = (1 / np.log2(3) + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    assert HeldOutLists(truth, scores).ndcg(np.array([1.0, 0.0])) == pytest.approx((1 + second) / 2)
    # The second kind brings one of them to the front, and the other stays third.
    third = (1 + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    assert HeldOutLists(truth, scores).ndcg(np.array([1.0, 1.0])) == pytest.approx((1 + third) / 2)


@pytest.mark.parametrize(("kind", "expected"), [(0, (0.0, 0.5)), (1, (1.0, 0.5)), (2, (0.0, 4.0))])
def test_the_kind_of_scores_that_ranks_held_out_items_best_gets_the_largest_multiplier(
    kind: int, expected: tuple[float, float]
) -> None:
    told = []
    found = best_multipliers(
        [lists_led_by(kind)], np.ones(3), CO_CLICKS, NEW_IDS, InitialConfig(), lambda *done: told.append(done)
    )
    assert found == expected
    assert told == [(tried, 12) for tried in range(1, 13)]  # Three multipliers of co-clicks by four of predicted ids.


def test_where_nothing_tells_the_multipliers_apart_they_are_1() -> None:
    settings, nobody = InitialConfig(), HeldOutLists(np.zeros((0, 5), bool), np.zeros((3, 0, 5), np.float32))
    single = HeldOutLists(np.ones((4, 1), bool), np.zeros((3, 4, 1), np.float32))
    alike = HeldOutLists(lists_led_by(0).truth, np.zeros((3, 1500, 30), np.float32))
    for lists in ([], [nobody], [single], [alike]):
        assert best_multipliers(lists, np.ones(3), CO_CLICKS, NEW_IDS, settings) == (1.0, 1.0)
    fixed = InitialConfig(co_click_multipliers=(0.0,), predicted_id_multipliers=(2.0,))
    assert best_multipliers([], np.ones(3), CO_CLICKS, NEW_IDS, fixed) == (0.0, 2.0)
    # Predicted ids alone have no balance with anything.
    alone = HeldOutLists(lists_led_by(0).truth, lists_led_by(0).scores[:1])
    assert best_multipliers([alone], np.ones(1), np.array([False]), np.array([True]), settings) == (1.0, 1.0)


def test_of_many_users_and_items_some_are_listed_each_user_with_a_click() -> None:
    random = np.random.default_rng(0)
    new = np.zeros(5000, bool)
    new[1000:4000] = True
    users, items = random.integers(0, 3000, 20_000), random.integers(1000, 5000, 20_000)
    rows, listed, truth = sampled_clicks(users, items, new, 3000, random)
    assert len(rows) == MOST_USERS and len(listed) == MOST_ITEMS and new[listed].all()
    assert truth.shape == (MOST_USERS, MOST_ITEMS) and truth.any(axis=1).all()
    clicks = set(zip(users.tolist(), items.tolist(), strict=True))
    found = {(int(rows[line]), int(listed[place])) for line, place in zip(*np.nonzero(truth), strict=True)}
    assert found == {pair for pair in clicks if pair[0] in set(rows.tolist()) and pair[1] in set(listed.tolist())}
