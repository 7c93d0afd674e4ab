"""The index contract, kept by both kinds: search by exact dot products, upsert, delete, save, load."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from m3csr_tf.config import IndexConfig
from m3csr_tf.errors import ReleaseError
from m3csr_tf.index import ItemIndex, build_index, load_index

KINDS = ("exact", "tree")
WIDTH = 24


def catalogue(items: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Items in groups, as item vectors are: [items, WIDTH]."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(1, items // 40), WIDTH))
    vectors = centres[rng.integers(len(centres), size=items)] + rng.normal(size=(items, WIDTH))
    return [f"item {row}" for row in range(items)], vectors.astype(np.float32)


def user_vectors(count: int) -> np.ndarray:
    return np.random.default_rng(99).normal(size=(count, WIDTH)).astype(np.float32)


def built(kind: str, items: int = 600, **settings: float) -> tuple[ItemIndex, list[str], np.ndarray]:
    ids, vectors = catalogue(items)
    index = build_index(ids, vectors, IndexConfig(kind=kind, **settings), user_vectors(300))
    return index, ids, vectors


def exact_scores(queries: np.ndarray, vectors: np.ndarray, k: int) -> np.ndarray:
    return -np.sort(-(queries @ vectors.T), axis=1)[:, :k]


def share_found(scores: np.ndarray, exact: np.ndarray) -> float:
    return float((scores >= exact[:, -1:] - 1e-4).mean())


def test_exact_search_equals_numpy() -> None:
    index, ids, vectors = built("exact")
    queries = user_vectors(50)
    found, scores = index.search(queries, 20)
    order = np.argsort(-(queries @ vectors.T), axis=1)[:, :20]
    assert (found == np.asarray(ids, dtype=object)[order]).all()
    np.testing.assert_allclose(scores, exact_scores(queries, vectors, 20), atol=1e-5)
    assert found.dtype == object and scores.dtype == np.float32


@pytest.mark.parametrize("target", [0.8, 0.95])
def test_a_tree_reaches_the_recall_asked_for_on_queries_it_was_not_tuned_on(target: float) -> None:
    ids, vectors = catalogue(4000)
    config = IndexConfig(kind="tree", recall=target, recall_at=50)
    index = build_index(ids, vectors, config, user_vectors(1000)[:600])
    report = index.report
    assert report["recall"] >= target and report["leaves"] == 126  # round(2 sqrt(4000)) = 126
    fresh = user_vectors(1000)[600:]
    assert share_found(index.search(fresh, 50)[1], exact_scores(fresh, vectors, 50)) >= target - 0.01


def test_a_lower_recall_searches_fewer_leaves() -> None:
    reports = [built("tree", 4000, recall=target)[0].report for target in (0.6, 0.98)]
    assert reports[0]["leaves_to_search"] < reports[1]["leaves_to_search"] <= reports[1]["leaves"]


def test_leaves_that_are_too_few_for_a_list_do_not_count_as_found() -> None:
    # 63 leaves of some 16 items: 100 items take several leaves, whatever the recall.
    report = built("tree", 1000, recall=0.9, recall_at=100)[0].report
    assert report["leaves"] == 63 and report["leaves_to_search"] >= 4


def test_a_recall_of_one_searches_everything_that_it_takes() -> None:
    index, _, vectors = built("tree", 2000, recall=1.0)
    queries = user_vectors(300)
    assert index.report["recall"] == 1.0
    np.testing.assert_allclose(index.search(queries, 100)[1], exact_scores(queries, vectors, 100), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_exact_dot_products_of_the_items_returned(kind: str) -> None:
    index, _, _ = built(kind, 2000, recall=0.7)
    queries = user_vectors(20)
    found, scores = index.search(queries, 30)
    dots = np.einsum("qd,qkd->qk", queries, index.vectors(found.ravel()).reshape(20, 30, WIDTH))
    np.testing.assert_allclose(scores, dots, atol=1e-5)
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_the_catalogue_gives_the_catalogue_and_masked_padding(kind: str) -> None:
    index, ids, _ = built(kind, 40)
    found, scores = index.search(user_vectors(3), 45)
    assert found.shape == scores.shape == (3, 45)
    for line in found:
        assert sorted(line[:40]) == sorted(ids)
    assert (found[:, 40:] == "").all() and np.isneginf(scores[:, 40:]).all() and np.isfinite(scores[:, :40]).all()


def test_a_tree_that_searches_few_leaves_still_fills_long_lists() -> None:
    index, _, _ = built("tree", 1000, recall=0.3, recall_at=5)
    found, scores = index.search(user_vectors(10), 700)
    assert np.isfinite(scores).all()
    assert all(len(set(line)) == 700 for line in found)


@pytest.mark.parametrize("kind", KINDS)
def test_no_queries_is_a_legal_search(kind: str) -> None:
    found, scores = built(kind, 40)[0].search(np.zeros([0, WIDTH], np.float32), 5)
    assert found.shape == scores.shape == (0, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_upsert_is_found_at_once_and_replaces_what_was_there(kind: str) -> None:
    index, ids, vectors = built(kind)
    query = user_vectors(1)
    index.upsert(["new", ids[7]], np.concatenate([query * 50, query * 40]))
    found, scores = index.search(query, 2)
    assert found.tolist() == [["new", ids[7]]]
    np.testing.assert_allclose(scores, (query @ query.T) * [[50, 40]], rtol=1e-5)
    assert len(index) == 601
    np.testing.assert_array_equal(index.vectors([ids[7], "new", ids[0]]), [query[0] * 40, query[0] * 50, vectors[0]])


@pytest.mark.parametrize("kind", KINDS)
def test_many_upserts_and_deletes_leave_the_right_vectors_under_the_right_ids(kind: str) -> None:
    index, ids, vectors = built(kind, 500, recall=1.0)
    rng = np.random.default_rng(5)
    truth = dict(zip(ids, vectors, strict=True))
    for turn in range(3):
        gone = rng.choice(sorted(truth), size=60, replace=False)
        index.delete(gone)
        truth = {item: vector for item, vector in truth.items() if item not in set(gone)}
        changed = [*rng.choice(sorted(truth), size=20, replace=False), *(f"new {turn} {n}" for n in range(30))]
        fresh = rng.normal(size=(50, WIDTH)).astype(np.float32)
        index.upsert(changed, fresh)
        truth |= dict(zip(changed, fresh, strict=True))
    queries = user_vectors(20)
    vectors = np.stack(list(truth.values()))
    found, scores = index.search(queries, len(truth))
    assert all(set(line) == set(truth) for line in found)
    np.testing.assert_allclose(scores, exact_scores(queries, vectors, len(truth)), atol=1e-4)
    np.testing.assert_array_equal(index.vectors(list(truth)), vectors)


@pytest.mark.parametrize("kind", KINDS)
def test_a_deleted_item_is_gone_and_deleting_a_missing_one_is_refused(kind: str) -> None:
    index, ids, _ = built(kind)
    query = user_vectors(1)
    best = index.search(query, 1)[0][0, 0]
    index.delete([best])
    assert best not in index.search(query, 600)[0] and len(index) == 599
    with pytest.raises(KeyError, match="'nobody' is not in the index"):
        index.delete([ids[0] if ids[0] != best else ids[1], "nobody"])
    assert len(index) == 599
    with pytest.raises(KeyError, match="not in the index"):
        index.vectors([best])


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_index_survives_a_move_and_goes_on_taking_upserts(kind: str, tmp_path: Path) -> None:
    index, _, _ = built(kind)
    query = user_vectors(4)
    index.upsert(["late"], query[:1] * 9)
    index.save(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    shutil.rmtree(tmp_path / "here")
    loaded = load_index(tmp_path / "there")
    for mine, theirs in zip(index.search(query, 30), loaded.search(query, 30), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert loaded.report == index.report and (loaded.ids == index.ids).all()
    loaded.upsert(["later"], query[1:2] * 9)
    loaded.delete(["late"])
    assert loaded.search(query[1:2], 1)[0][0, 0] == "later"
    np.testing.assert_array_equal(loaded.vectors(["later"]), query[1:2] * 9)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_a_saved_index_is_a_pickle_and_one_put_there_is_refused(kind: str, tmp_path: Path) -> None:
    built(kind)[0].save(tmp_path / "index")
    files = list((tmp_path / "index").iterdir())
    assert files and not [file for file in files if file.suffix in {".pkl", ".pickle"}]

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "exploded",))  # type: ignore[return-value]

    (tmp_path / "index" / "scann_docids.pkl").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ReleaseError, match="pickle"):
        load_index(tmp_path / "index")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "missing", ["ids.parquet", "index.json", "dataset.npy", "scann_assets.pbtxt", "scann_config.pb"]
)
def test_a_saved_index_that_lacks_a_file_is_refused(missing: str, tmp_path: Path) -> None:
    built("exact")[0].save(tmp_path / "index")
    (tmp_path / "index" / missing).unlink()
    with pytest.raises(ReleaseError, match="index"):
        load_index(tmp_path / "index")


def test_ids_that_do_not_belong_to_the_saved_vectors_are_refused(tmp_path: Path) -> None:
    built("exact", 600)[0].save(tmp_path / "big")
    built("exact", 599)[0].save(tmp_path / "small")
    shutil.copy(tmp_path / "small" / "ids.parquet", tmp_path / "big" / "ids.parquet")
    with pytest.raises(ReleaseError, match="do not belong together"):
        load_index(tmp_path / "big")


def test_an_index_is_never_saved_over_another(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exists already"):
        built("exact")[0].save(tmp_path)


def test_auto_is_exact_up_to_the_limit_and_a_tree_beyond() -> None:
    ids, vectors = catalogue(101)
    config = IndexConfig(kind="auto", exact_below=100)
    assert build_index(ids, vectors, config).report["kind"] == "tree"
    assert build_index(ids[:100], vectors[:100], config).report["kind"] == "exact"
    few = IndexConfig(kind="auto", exact_below=1)  # A tree needs sixteen.
    assert build_index(ids[:16], vectors[:16], few).report["kind"] == "exact"
    assert build_index(ids[:17], vectors[:17], few).report["kind"] == "tree"


@pytest.mark.parametrize("kind", KINDS)
def test_the_callers_ids_stay_as_they_are(kind: str) -> None:
    ids, vectors = catalogue(40)
    index = build_index(ids, vectors, IndexConfig(kind=kind))
    index.upsert(["new"], vectors[:1])
    assert len(ids) == 40
    ids[0] = "changed by the caller"
    assert "changed by the caller" not in index.ids


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        (["a", "a"], np.ones([2, WIDTH]), "'a' occurs twice"),
        (["a", ""], np.ones([2, WIDTH]), "non-empty strings"),
        (["a", 3], np.ones([2, WIDTH]), "non-empty strings"),
        (["a", "b"], np.ones([3, WIDTH]), "3 vectors for 2 ids"),
        (["a", "b"], np.ones([2, WIDTH + 1]), "expected vectors"),
        (["a", "b"], np.ones(2), "expected vectors"),
        (["a", "b"], np.full([2, WIDTH], np.nan), "vector 0 has NaN"),
        (["a", "b"], np.stack([np.ones(WIDTH), np.full(WIDTH, np.inf)]), "vector 1 has NaN"),
        ([], np.ones([0, WIDTH]), "at least one item"),
    ],
)
def test_bad_items_are_refused_and_change_nothing(kind: str, ids: list, vectors: np.ndarray, message: str) -> None:
    index, _, _ = built(kind, 40)
    with pytest.raises(ValueError, match=message):
        index.upsert(ids, vectors)
    assert len(index) == 40
    if vectors.shape[-1:] != (WIDTH + 1,):
        with pytest.raises(ValueError, match=message):
            build_index(ids, vectors, IndexConfig(kind="exact"))


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        (np.ones([1, WIDTH]), 0, "k must be at least 1"),
        (np.ones([1, WIDTH - 1]), 3, "expected vectors"),
        (np.full([1, WIDTH], np.nan), 3, "NaN"),
    ],
)
def test_bad_queries_are_refused(queries: np.ndarray, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built("exact", 40)[0].search(queries, k)


def test_a_tree_on_a_handful_of_items_is_refused_with_the_way_out() -> None:
    ids, vectors = catalogue(15)
    with pytest.raises(ValueError, match=r"16 items or more, got 15; use index\.kind=exact"):
        build_index(ids, vectors, IndexConfig(kind="tree"))


@pytest.mark.parametrize("kind", KINDS)
def test_items_that_are_all_alike_are_an_ordinary_catalogue(kind: str) -> None:
    ids, _ = catalogue(100)
    index = build_index(ids, np.zeros([100, WIDTH], np.float32), IndexConfig(kind=kind))
    found, scores = index.search(user_vectors(2), 20)
    assert (scores == 0).all() and all(len(set(line)) == 20 for line in found)


@pytest.mark.parametrize("kind", KINDS)
def test_preparing_for_changes_changes_nothing(kind: str) -> None:
    index, ids, vectors = built(kind)
    queries = user_vectors(20)
    before, report = index.search(queries, 30), index.report
    for _ in range(2):
        index.prepare_changes()
    assert index.ids.tolist() == ids and index.report == report
    for one, other in zip(before, index.search(queries, 30), strict=True):
        np.testing.assert_array_equal(one, other)
    index.upsert(["new"], vectors[:1] * 9)
    index.delete([ids[0]])
    assert index.rows(["new"]).tolist() == [0] and len(index) == len(ids)  # The last one takes the place of the first.
    np.testing.assert_array_equal(index.vectors(["new"]), vectors[:1] * 9)
