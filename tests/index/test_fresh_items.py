"""Items that come and go between builds: found at once and at their exact rank, whatever came before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3csr_tf.config import IndexConfig
from m3csr_tf.errors import ReleaseError
from m3csr_tf.index import ItemIndex, build_index, exact_side_index, load_index

KINDS = ("exact", "tree")
WIDTH = 16
QUERIES = np.random.default_rng(99).normal(size=(12, WIDTH)).astype(np.float32)


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)


def narrow_tree(items: int = 2000) -> ItemIndex:
    """A tree of which a search sees one leaf in 89 and one candidate for each item wanted."""
    config = IndexConfig(kind="tree", recall=0.01, recall_at=10, max_leaves_to_search=1)
    return build_index([f"i{n}" for n in range(items)], vectors(items), config, QUERIES)


def check(index: ItemIndex, model: dict[str, np.ndarray], surely: set[str], tmp_path: Path | None = None) -> None:
    """Lists hold what the model holds, with exact scores, in order, and all of `surely` that belongs in them."""
    vectors = np.stack(list(model.values()))
    exact = dict(zip(model, (vectors @ QUERIES.T), strict=True))
    found, scores = index.search(QUERIES, len(model) + 2)
    assert (found[:, len(model) :] == "").all() and np.isneginf(scores[:, len(model) :]).all()
    assert all(set(line[: len(model)]) == set(model) for line in found)
    np.testing.assert_allclose(scores[:, : len(model)], -np.sort(-vectors @ QUERIES.T, axis=0).T, atol=1e-4)
    found, scores = index.search(QUERIES, 5)
    for query, (line, values) in enumerate(zip(found, scores, strict=True)):
        assert len(set(line)) == min(5, len(model)) + (len(model) < 5)
        for item, value in zip(line, values, strict=True):
            assert not item or value == pytest.approx(exact[item][query], abs=1e-4)
        missed = [item for item in surely - set(line) if exact[item][query] > values[-1] + 1e-4]
        assert not missed
    assert sorted(index.ids) == sorted(model) and len(index) == len(model)
    np.testing.assert_array_equal(index.vectors(list(model)), vectors)
    assert (index.rows(index.ids) == np.arange(len(model))).all()


NAMES = st.lists(st.sampled_from([f"i{n}" for n in range(24)]), min_size=1, max_size=30, unique=True)
STEPS = st.lists(st.tuples(st.sampled_from(["upsert", "delete", "reload"]), NAMES), min_size=1, max_size=8)


@pytest.mark.parametrize("kind", KINDS)
@given(steps=STEPS, seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_any_sequence_of_changes_leaves_what_a_dictionary_would(
    kind: str, steps: list, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = np.random.default_rng(seed)
    start = rng.normal(size=(18, WIDTH)).astype(np.float32)
    model = {f"i{n}": start[n] for n in range(18)}
    index = build_index(list(model), start, IndexConfig(kind=kind, recall=0.5, recall_at=3), QUERIES)
    fresh: set[str] = set(model) if kind == "exact" else set()
    for step, names in steps:
        if step == "upsert":
            new = rng.normal(size=(len(names), WIDTH)).astype(np.float32)
            index.upsert(names, new)
            model |= dict(zip(names, new, strict=True))
            fresh |= set(names)
        elif step == "delete":
            gone = [name for name in names if name in model][: len(model) - 1]
            if not gone:
                continue
            index.delete(gone)
            model = {item: vector for item, vector in model.items() if item not in gone}
            fresh -= set(gone)
        else:
            folder = tmp_path_factory.mktemp("saved") / "index"
            index.save(folder)
            index = load_index(folder)
        check(index, model, fresh)


def test_a_fresh_item_is_at_its_exact_rank_though_its_leaf_is_not_searched() -> None:
    index = narrow_tree()
    fresh = vectors(300, 5) * 1.5
    index.upsert([f"n{n}" for n in range(300)], fresh)
    among_fresh = QUERIES @ fresh.T
    found, scores = index.search(QUERIES, 30)
    for query in range(len(QUERIES)):
        listed = [item for item in found[query] if item.startswith("n")]
        order = [f"n{n}" for n in np.argsort(-among_fresh[query]) if among_fresh[query, n] > scores[query, -1]]
        assert listed[: len(order)] == order and len(order) > 3
    assert (np.diff(scores, axis=1) <= 0).all() and all(len(set(line)) == 30 for line in found)
    # Without those beside the tree, the same search misses most: that is what they are for.
    plain = narrow_tree()
    plain._searcher.upsert(plain._items.upsert([f"n{n}" for n in range(300)], fresh), fresh, 300)
    plain._side_index.delete([])  # It is told that there are other rows, and of no item.
    assert plain.measure(QUERIES) < index.measure(QUERIES) - 0.2


def test_a_thorough_search_of_a_narrow_tree_lacks_nothing() -> None:
    index = narrow_tree()
    index.upsert([f"n{n}" for n in range(50)], vectors(50, 5) * 1.5)
    exact = -np.sort(-(QUERIES @ index.vectors(index.ids).T), axis=1)[:, :30]
    np.testing.assert_allclose(index.search(QUERIES, 30, thorough=True)[1], exact, rtol=1e-4, atol=1e-4)
    assert not np.allclose(index.search(QUERIES, 30)[1], exact, rtol=1e-4, atol=1e-4)


def test_only_the_latest_upserts_are_scored_beside_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_side_index, "RECENT", 50)
    index = narrow_tree()
    index.upsert([f"n{n}" for n in range(70)], vectors(70, 5))
    index.upsert(["n3", "n25"], vectors(2, 6))  # Both come last now.
    index.delete(["n69"])
    assert index._side_index.recent == [*(f"n{n}" for n in range(21, 69) if n != 25), "n3", "n25"]
    index.upsert([f"m{n}" for n in range(60)], vectors(60, 7))  # More at once than there is room for.
    assert index._side_index.recent == [f"m{n}" for n in range(10, 60)]


def test_a_tree_reads_back_which_items_are_fresh(tmp_path: Path) -> None:
    index = narrow_tree()
    index.upsert([f"n{n}" for n in range(100)], vectors(100, 5) * 2)
    index.delete(["n0", "i1999"])
    index.save(tmp_path / "index")
    loaded = load_index(tmp_path / "index")
    (mine, scores), (theirs, same) = index.search(QUERIES, 40), loaded.search(QUERIES, 40)
    np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_allclose(scores, same, rtol=1e-6)
    assert loaded.measure(QUERIES) == index.measure(QUERIES)
    assert loaded.changed == index.changed == 102


def test_fresh_items_that_the_index_does_not_hold_are_refused(tmp_path: Path) -> None:
    index = narrow_tree(100)
    index.upsert(["new"], vectors(1, 5))
    index.save(tmp_path / "with")
    narrow_tree(100).save(tmp_path / "without")
    (tmp_path / "with" / "beside.parquet").rename(tmp_path / "without" / "beside.parquet")
    with pytest.raises(ReleaseError, match=r"beside\.parquet names items that are not there"):
        load_index(tmp_path / "without")
    with pytest.raises(ReleaseError, match=r"beside\.parquet"):
        load_index(tmp_path / "with")


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_may_be_replaced_item_by_item(kind: str) -> None:
    stored = vectors(40)
    index = build_index([f"i{n}" for n in range(40)], stored, IndexConfig(kind=kind, recall=1.0), QUERIES)
    model = {f"i{n}": stored[n] for n in range(40)}
    fresh = vectors(200, 8)
    for n in range(200):
        index.upsert([f"n{n}"], fresh[n : n + 1])
        model[f"n{n}"] = fresh[n]
        if n < 40:
            index.delete([f"i{n}"])
            del model[f"i{n}"]
    check(index, model, set(model))
    index.delete([f"n{n}" for n in range(1, 200)])
    assert index.search(QUERIES, 2)[0].tolist() == [["n0", ""]] * len(QUERIES)
