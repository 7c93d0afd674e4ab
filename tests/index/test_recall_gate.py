"""The gate: what a tree's recall is measured on, what is refused, and recall after changes."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from m3csr_tf.config import IndexConfig
from m3csr_tf.index import ItemIndex, build_index, load_index, recall_table
from m3csr_tf.index.recall import RecallSample, kth_scores
from m3csr_tf.index.settings import SearchWidth, around, cheapest, leaf_counts, reorders, wider

WIDTH = 16


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)


def tree(items: int = 3000, queries: np.ndarray | None = None, **settings: float) -> tuple[ItemIndex, np.ndarray]:
    stored = vectors(items)
    config = IndexConfig(kind="tree", **{"recall_at": 20, **settings})
    return build_index([f"i{n}" for n in range(items)], stored, config, queries), stored


def share_found(index: ItemIndex, queries: np.ndarray, stored: np.ndarray, k: int) -> float:
    exact = np.sort(queries @ stored.T, axis=1)[:, -k:]
    return float((index.search_rows(queries, k)[1] >= exact[:, :1] - 2e-5).mean())


def test_the_reported_recall_is_that_of_the_held_back_half_alone() -> None:
    # Queries at even places of the gate's own shuffle are easy, those at odd places are not: the report says the odd's.
    queries = vectors(400, 1)
    index, stored = tree(queries=queries, recall=0.8)
    order = np.random.default_rng(0).permutation(400)
    held_back = share_found(index, queries[order[1::2]], stored, 20)
    assert index.report["recall"] == pytest.approx(held_back, abs=1e-4)
    assert index.report["recall"] != pytest.approx(share_found(index, queries[order[::2]], stored, 20), abs=1e-4)


def test_a_held_back_half_that_misses_the_recall_widens_the_search() -> None:
    order = np.random.default_rng(0).permutation(400)
    easy, hard = np.zeros([2, 400, WIDTH], np.float32)
    stored = vectors(3000)
    easy[:] = stored[np.argmax(np.linalg.norm(stored, axis=1))]  # One leaf and few candidates find what these want.
    hard[:] = vectors(400, 1)
    mixed = easy.copy()
    mixed[order[1::2]] = hard[order[1::2]]
    narrow, wide = (tree(queries=queries, recall=0.9)[0].report for queries in (easy, mixed))
    assert wide["recall"] >= 0.9
    assert (wide["leaves_to_search"], wide["reorder"]) > (narrow["leaves_to_search"], narrow["reorder"])


def test_an_index_below_the_recall_is_refused_with_the_figures_and_the_way_out() -> None:
    queries = vectors(400, 1)
    message = (
        r"recall@20 on held-back queries is 0\.\d{4}, asked for is 0\.99 .*max_leaves_to_search.*index\.kind=exact"
    )
    with pytest.raises(ValueError, match=message):
        tree(queries=queries, recall=0.99, max_leaves_to_search=2)
    assert tree(queries=queries, recall=0.1, max_leaves_to_search=2)[0].report["leaves_to_search"] <= 2


def test_the_report_holds_a_small_table_with_the_chosen_setting_and_is_plain_json(tmp_path: Path) -> None:
    index, _ = tree(queries=vectors(300, 1), recall=0.9)
    report = index.report
    assert json.loads(json.dumps(report)) == report
    rows = report["settings_tried"]
    assert 2 <= len(rows) <= 8
    settings = [(row["leaves_to_search"], row["reorder"]) for row in rows]
    chosen = rows[settings.index((report["leaves_to_search"], report["reorder"]))]
    assert chosen["recall"] == report["recall"]
    for row in rows:
        assert set(row) == {"leaves_to_search", "reorder", "recall", "queries_per_second", "speedup"}
        assert row["queries_per_second"] > 0 and row["speedup"] > 0
    assert report["build_seconds"] >= 0
    assert report["bytes_per_item"] == 16 * 4 + 4  # float32, and 8 codes of 4 bits.
    index.save(tmp_path / "index")
    assert load_index(tmp_path / "index").report == report


def test_the_table_is_printed_with_a_line_for_each_setting() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    report = tree(queries=vectors(300, 1), recall=0.9)[0].report
    console.print(recall_table(report))
    text = console.export_text()
    assert "recall@20" in text and "3,000 items" in text
    assert text.count(" of 110") == len(report["settings_tried"])  # round(2 sqrt(3000)) = 110 leaves.
    console.print(recall_table(build_index(["a"], vectors(1), IndexConfig(kind="exact")).report))
    assert "exact index of 1 items" in console.export_text()


def test_recall_is_measured_against_the_vectors_held_now() -> None:
    queries = vectors(200, 1)
    index, stored = tree(queries=queries, recall=0.9)
    by_id = dict(zip(index.ids, stored, strict=True))
    fresh = vectors(5000, 7) * 1.2  # More than the base, more than are scored exactly, and longer: they fill the lists.
    index.upsert([f"n{n}" for n in range(5000)], fresh)
    index.delete([f"i{n}" for n in range(0, 2000)])
    by_id = {item: vector for item, vector in by_id.items() if int(item[1:]) >= 2000}
    everything = np.concatenate([np.stack(list(by_id.values())), fresh])
    assert len(index) == 6000 and index.changed == 7000
    assert index.measure(queries) == pytest.approx(share_found(index, queries, everything, 20), abs=1e-4)


def test_exact_search_has_a_recall_of_one_after_changes() -> None:
    index = build_index([f"i{n}" for n in range(50)], vectors(50), IndexConfig(kind="exact", recall_at=5))
    assert index.changed == 0
    index.upsert(["i1", "new"], vectors(2, 3))
    index.delete(["i0"])
    assert index.changed == 3 and index.report["changed"] == 3
    assert index.measure(vectors(30, 4)) == 1.0


def test_recall_is_measured_on_queries() -> None:
    with pytest.raises(ValueError, match="got none"):
        tree(100)[0].measure(np.zeros([0, WIDTH], np.float32))


def test_the_kth_score_is_the_same_in_blocks_and_at_once() -> None:
    queries, stored = vectors(7, 1), vectors(100)
    exact = np.sort(queries @ stored.T, axis=1)[:, -9]
    for size in (100, 33, 5):  # Blocks smaller than k as well.
        blocks = (stored[start : start + size] for start in range(0, 100, size))
        np.testing.assert_allclose(kth_scores(queries, blocks, 9), exact, atol=1e-3)


def test_places_that_stay_empty_are_not_found() -> None:
    sample = RecallSample(np.zeros([1, 2], np.float32), np.float32([1.0]), 4)
    scores = np.float32([[3, 1, 0.5, np.nan]])
    assert sample.found(lambda queries, k: (np.zeros([1, 4], int), scores)).tolist() == [0.5]


@pytest.mark.parametrize("seed", range(20))
def test_the_cheapest_setting_is_that_of_a_search_through_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    leaves, steps = leaf_counts(100), reorders(50)
    gain = rng.uniform(0.2, 3, size=2)

    def reaches(setting: SearchWidth) -> bool:
        return 1 - setting.leaves ** -gain[0] - 0.5 * setting.reorder ** -gain[1] >= 0.9

    price = rng.uniform(0.1, 10)

    def cost(setting: SearchWidth) -> float:
        return setting.leaves + price * setting.reorder

    every = [SearchWidth(leaf, step) for leaf in leaves for step in steps]
    good = [setting for setting in every if reaches(setting)]
    best = cheapest(reaches, cost, leaves, steps)
    assert (best is None) == (not good)
    if best is not None:
        assert reaches(best) and cost(best) == min(map(cost, good))


def test_settings_grow_to_the_widest_and_those_around_one_stay_within_reach() -> None:
    leaves, steps = leaf_counts(30), reorders(5)
    assert leaves[0] == 1 and leaves[-1] == 30 and steps == [1, 1.5, 2, 3, 4, 5]
    path = list(wider(SearchWidth(20, 2.0), leaves, steps))
    assert path[-1] == SearchWidth(30, 5.0)
    assert all(one.leaves <= other.leaves and one.reorder <= other.reorder for one, other in pairwise(path))
    assert list(wider(SearchWidth(30, 5.0), leaves, steps)) == []
    for setting in (SearchWidth(1, 1.0), SearchWidth(30, 5.0), SearchWidth(7, 2.0)):
        near = around(setting, leaves, steps)
        assert setting in near and len(near) <= 7
        assert all(1 <= other.leaves <= 30 and 1 <= other.reorder <= 5 for other in near)
