"""Two systems whose vectors are written by hand, on the same users."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from m3csr_tf.drift.comparison import compare, quality
from m3csr_tf.drift.systems import ComparedUsers, System

ITEMS = [f"i{number:02}" for number in range(24)]


def system(name: str, scores: dict[str, float], **more: Any) -> System:
    """Every user has the same scores; the first two items are cold."""
    values = np.array(list(scores.values()), np.float32)[:, np.newaxis]
    return System(
        name=name,
        ids=np.array(list(scores), dtype=object),
        item_vectors=lambda positions: values[positions],
        user_vectors=lambda users: np.ones((len(users), 1), np.float32),
        bins=lambda ids: np.array([0 if item in ITEMS[:2] else 3 for item in ids]),
        **more,
    )


def users(excluded: list[list[str]], clicked: list[list[str]] | None = None) -> ComparedUsers:
    lists = pd.Series(excluded, dtype=object)
    names = [f"u{number}" for number in range(len(excluded))]
    frame = pd.DataFrame({"user_id": names, "history": lists, "exclusions": lists})
    counts = pd.Series(np.arange(len(ITEMS)), index=ITEMS)
    return ComparedUsers(frame, None if clicked is None else pd.Series(clicked, dtype=object), counts)


DESCENDING = {item: 24.0 - number for number, item in enumerate(ITEMS)}
ASCENDING = {item: 1.0 + number for number, item in enumerate(ITEMS)}


def test_a_system_beside_one_that_ranks_the_other_way_round() -> None:
    clicked = [["i00"], ["i00", "i23"], ["i05"]]
    found = compare(system("old", DESCENDING), system("new", ASCENDING), users([[], [], []], clicked))
    # Of 24 items old lists i00 to i19 and new i23 to i04: 16 shared, in the opposite order.
    assert found.overlap == pytest.approx(16 / 20) and found.rank_correlation == -1 and found.same_lists == 0
    old, new = found.figures["old"], found.figures["new"]
    assert old["coverage"] == new["coverage"] == 20 / 24
    assert old["cold_share"] == 2 / 20 and new["cold_share"] == 0 and old["new_share"] == 0
    assert old["popularity_bin"] == pytest.approx(18 * 3 / 20) and new["popularity_bin"] == 3
    # Item k has k training clicks: the mean of 0 to 19, and of 4 to 23.
    assert old["training_clicks"] == 9.5 and new["training_clicks"] == 13.5
    # Scores 24 to 5 for both.
    assert old["score"] == new["score"] == 14.5
    # Every pair of 24 items: 24 - k against 1 + k, so that they mirror each other; the mean of |2k - 23| is 12.
    assert found.scores == {
        "pairs": 3 * 24,
        "correlation": pytest.approx(-1),
        "difference": 0,
        "absolute_difference": 12,
    }
    # Recall@20 of old: 1, 1/2, 1; of new, whose list has i23 and i05 and not i00: 0, 1/2, 1.
    test = found.quality["recall@20"]
    assert test.second == pytest.approx(2.5 / 3) and test.first == pytest.approx(1.5 / 3)
    assert test.difference == pytest.approx(-1 / 3) and test.users == 3
    tree = found.to_json()["quality"]["recall@20"]
    assert tree["first"] == pytest.approx(2.5 / 3) and tree["second"] == pytest.approx(0.5)
    assert found.intensities is None and found.intensity_drift is None


def test_what_is_excluded_is_in_no_list_and_items_of_one_system_alone_are_its_new_ones() -> None:
    few = {item: DESCENDING[item] for item in ITEMS[:10]}
    more = {**few, "fresh": 100.0}
    found = compare(system("old", few), system("new", more), users([["i00", "nothing"], []]))
    assert found.figures["old"]["listed_places"] == 19 and found.figures["new"]["listed_places"] == 21
    assert found.figures["new"]["new_share"] == 2 / 21 and found.figures["old"]["new_share"] == 0
    # 9 shared of 10, and 10 of 11.
    assert found.overlap == pytest.approx((9 / 10 + 10 / 11) / 2) and found.rank_correlation == 1
    assert found.scores["pairs"] == 19 and found.scores["difference"] == 0
    assert found.quality is None


def test_intensity_drift_is_half_the_sum_of_absolute_changes() -> None:
    first = system(
        "old", DESCENDING, intensities=lambda frame: np.array([[0.5, 0.5], [0.9, 0.1]]), modalities=("seen", "heard")
    )
    second = system(
        "new", DESCENDING, intensities=lambda frame: np.array([[0.5, 0.5], [0.3, 0.7]]), modalities=("heard", "seen")
    )
    found = compare(first, second, users([[], []]))
    # Of user 2 seen goes from 0.9 to 0.7 and heard from 0.1 to 0.3: a drift of 0.2; user 1 stays.
    assert found.intensity_drift == pytest.approx(0.1)
    assert found.intensities["seen"] == {
        "first": pytest.approx(0.7),
        "second": pytest.approx(0.6),
        "absolute_difference": pytest.approx(0.1),
    }
    assert found.same_lists == 1 and found.overlap == 1


def test_quality_alone_is_that_of_the_whole_comparison() -> None:
    clicked = users([[], ["i03"], []], [["i00"], ["i23"], ["i05"]])
    systems = system("old", DESCENDING), system("new", ASCENDING)
    assert quality(*systems, clicked) == compare(*systems, clicked).quality
    assert quality(*systems, users([[], []])) is None
