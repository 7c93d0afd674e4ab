"""Lists scored by some parts of the vectors alone, with numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from m3csr_tf.evaluation.popularity import found_by_bin
from m3csr_tf.evaluation.subsets import curves_by_subset, subset_name, subsets_of


def test_of_three_modalities_every_subset_is_judged_of_more_the_telling_ones() -> None:
    assert subsets_of(["a", "b"]) == [(), ("a",), ("b",), ("a", "b")]
    assert len(subsets_of(["a", "b", "c"])) == 8
    sizes = [len(subset) for subset in subsets_of(list("abcde"))]
    assert sizes == [0, 1, 1, 1, 1, 1, 4, 4, 4, 4, 4, 5]


def test_a_score_is_the_sum_of_the_subsets_parts_and_of_those_that_are_no_modality() -> None:
    # One user, four items, of which the first two rows may not be listed. Her vector is (1, 1, 1): id, visual, sound.
    # Item 2 has id 3, item 3 visual 2 and sound 2, item 4 visual 1; she went on to click item 3 alone.
    items = np.zeros((5, 3), np.float32)
    items[2], items[3], items[4] = (3, 0, 0), (0, 2, 2), (0, 1, 0)
    told: list[tuple[int, int | None]] = []
    curves = curves_by_subset(
        np.ones((1, 3), np.float32),
        items,
        parts={"id": slice(0, 1), "visual": slice(1, 2), "sound": slice(2, 3)},
        modalities=["visual", "sound"],
        truth=sparse.csr_array(([1.0], ([0], [3])), shape=(1, 5)),
        seen=sparse.csr_array(([1.0], ([0], [4])), shape=(1, 5)),
        candidates=np.arange(5) >= 2,
        longest=20,
        on_progress=lambda done, total: told.append((done, total)),
    )
    # Four subsets are ranked, each of which is a quarter.
    assert sorted(set(told)) == sorted(told) == told and (25, 100) in told and told[-1] == (100, 100)
    # Item 4 was seen, so 2 and 3 are left. Alone, visual gives scores of 3 and 2, as sound does: item 3 comes second,
    # worth 1 / log2(3) of NDCG. Together they give it 4 against 3: it comes first.
    of = curves.set_index(["subset", "n"])
    for subset in ("no modality", "visual", "sound"):
        assert of.loc[(subset, 1), "recall"] == 0 and of.loc[(subset, 2), "recall"] == 1
        assert of.loc[(subset, 2), "ndcg"] == pytest.approx(1 / np.log2(3))
    assert of.loc[("visual + sound", 1), "recall"] == of.loc[("visual + sound", 1), "ndcg"] == 1
    # A list is no longer than the items that there are.
    assert sorted(curves["n"].unique()) == [1, 2, 3]


def test_a_model_of_modalities_alone_has_no_curve_without_them() -> None:
    curves = curves_by_subset(
        np.ones((1, 1), np.float32),
        np.ones((3, 1), np.float32),
        parts={"visual": slice(0, 1)},
        modalities=["visual"],
        truth=sparse.csr_array(([1.0], ([0], [2])), shape=(1, 3)),
        seen=sparse.csr_array((1, 3)),
        candidates=np.arange(3) >= 2,
    )
    assert {*curves["subset"]} == {"visual"}


def test_held_out_clicks_are_counted_by_the_popularity_of_their_items() -> None:
    # Two users. The first clicked items 1 and 2, her list holds 2; the second clicked 2 and 3, her list holds 3 and 1
    # and has ended. Items 0 to 3 are of bins 0, 0, 1 and 1: of bin 0 one click, none found; of bin 1 three, two found.
    truth = sparse.csr_array(([1.0, 1.0, 1.0, 1.0], ([0, 0, 1, 1], [1, 2, 2, 3])), shape=(2, 4))
    ranked = np.array([[2, 0, 3], [3, 1, -1]])
    found, every = found_by_bin(ranked, truth, np.array([0, 0, 1, 1]), 3)
    assert found.tolist() == [0, 2, 0] and every.tolist() == [1, 3, 0]


def test_subsets_of_many_modalities_are_named_by_what_they_leave_out() -> None:
    # The names of four of five would not fit into a legend, and cut short they would look alike.
    five = ["a", "b", "c", "d", "e"]
    names = [subset_name(subset, five) for subset in subsets_of(five)]
    assert names == ["no modality", *five, *(f"all but {name}" for name in reversed(five)), "all modalities"]
    assert subset_name(("a", "b"), ["a", "b", "c"]) == "a + b"
