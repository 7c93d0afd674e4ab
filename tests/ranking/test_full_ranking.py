from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from m3csr_tf.ids import NO_ITEM
from m3csr_tf.ranking import full_ranking as ranking
from m3csr_tf.ranking.full_ranking import top_n


@st.composite
def problems(draw):
    """Whole-number vectors, whose scores are exact, so that ties are ties; some items seen, some no candidates."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    users, items, dim = draw(st.integers(1, 300)), draw(st.integers(1, 40)), draw(st.integers(1, 3))
    largest = draw(st.integers(0, 3))
    return {
        "user_vectors": random.integers(-largest, largest + 1, (users, dim)).astype(np.float32),
        "item_vectors": random.integers(-largest, largest + 1, (items, dim)).astype(np.float32),
        "n": draw(st.integers(1, 50)),
        "seen": sparse.csr_array(
            (random.random((users, items)) < draw(st.sampled_from([0, 0.2, 1]))).astype(np.float32)
        ),
        "candidates": random.random(items) < draw(st.sampled_from([0.0, 0.5, 1.0])),
        "seed": draw(st.integers(0, 2**63)),
    }


@settings(deadline=None, max_examples=60)
@given(problems())
def test_lists_hold_the_best_unseen_candidates_in_falling_order(problem):
    ranked = top_n(**problem)
    allowed = ~problem["seen"].toarray().astype(bool) & problem["candidates"]
    scores = np.where(allowed, problem["user_vectors"] @ problem["item_vectors"].T, -np.inf)
    n = problem["n"]
    assert ranked.dtype == np.int32 and ranked.shape == (len(scores), n)
    for row, line in enumerate(ranked):
        listed = line[line != NO_ITEM]
        assert len(listed) == min(n, allowed[row].sum())
        assert (line[len(listed) :] == NO_ITEM).all()
        assert len(set(listed)) == len(listed) and allowed[row, listed].all()
        assert (scores[row, listed] == np.sort(scores[row])[::-1][: len(listed)]).all()


@settings(deadline=None, max_examples=30)
@given(problems(), st.integers(1, 400))
def test_the_block_size_does_not_change_the_lists(problem, block):
    assert (top_n(**problem, block=block) == top_n(**problem, block=1024)).all()


@settings(deadline=None, max_examples=60)
@given(problems(), st.integers(1, 30), st.integers(1, 100))
def test_the_size_of_tiles_does_not_change_the_lists_of_exact_scores(problem, items, users):
    expected = top_n(**problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_ITEMS", items)
        patch.setattr(ranking, "_USERS", users)
        patch.setattr(ranking, "_SPARSE_SCORES", 5 * users)
        assert (top_n(**problem) == expected).all()
        of_sparse = {name: sparse.csr_matrix(problem[name]) for name in ("user_vectors", "item_vectors")}
        assert (top_n(**(problem | of_sparse)) == expected).all()
        assert (top_n(**(problem | {"user_vectors": of_sparse["user_vectors"]})) == expected).all()


@settings(deadline=None, max_examples=60)
@given(problems())
def test_sparse_vectors_have_the_lists_of_equal_dense_ones(problem):
    of_sparse = {name: sparse.csr_matrix(problem[name]) for name in ("user_vectors", "item_vectors")}
    assert (top_n(**(problem | of_sparse)) == top_n(**problem)).all()


@settings(deadline=None, max_examples=60)
@given(problems())
def test_sparse_users_and_dense_items_have_the_lists_of_equal_dense_ones(problem):
    users = sparse.csr_matrix(problem["user_vectors"])
    assert (top_n(**(problem | {"user_vectors": users})) == top_n(**problem)).all()


def test_the_block_size_does_not_change_the_lists_of_sparse_vectors_whose_scores_round():
    random = np.random.default_rng(0)
    users, items = (
        sparse.random_array((size, 300), density=0.2, rng=random, format="csr", dtype=np.float32) for size in (700, 900)
    )
    expected = top_n(users, items, 900)
    for block in (1, 300, 699):
        assert (top_n(users, items, 900, block=block) == expected).all()


def test_the_block_size_does_not_change_the_lists_of_vectors_whose_scores_round():
    random = np.random.default_rng(0)
    users, items = (random.standard_normal((n, 33), dtype=np.float32) for n in (700, 900))
    items[:, 1:] *= 1e-3  # Scores so close together that one rounded differently would change its place.
    expected = top_n(users, items, 900)
    for block in (1, 7, 300, 699):
        assert (top_n(users, items, 900, block=block) == expected).all()


@settings(deadline=None, max_examples=30)
@given(problems())
def test_another_seed_only_reorders_ties(problem):
    def listed_scores(seed):
        ranked = top_n(**(problem | {"seed": seed}))
        scores = problem["user_vectors"] @ problem["item_vectors"].T
        return np.where(ranked == NO_ITEM, np.nan, np.take_along_axis(scores, np.maximum(ranked, 0), axis=1))

    np.testing.assert_array_equal(listed_scores(1), listed_scores(2))


def test_the_same_seed_gives_the_same_lists_and_another_seed_others():
    users, items = np.zeros((20, 1), np.float32), np.zeros((50, 1), np.float32)
    assert (top_n(users, items, 10, seed=3) == top_n(users, items, 10, seed=3)).all()
    assert (top_n(users, items, 10, seed=3) != top_n(users, items, 10, seed=4)).any(axis=1).all()


def test_users_have_ties_broken_independently():
    ranked = top_n(np.zeros((500, 1), np.float32), np.zeros((50, 1), np.float32), 10)
    assert len(np.unique(ranked, axis=0)) == 500


def test_ties_at_the_last_place_are_drawn_uniformly_and_certain_items_always_listed():
    # Item 3 scores 2, ten items score 1 and item 7 scores 0: of each list's 4 places one is certain, and each of the
    # ten gets one of the other three with probability 3/10.
    scores = np.array([1, 1, 1, 2, 1, 1, 1, 0, 1, 1, 1, 1], np.float32)
    users = 20_000
    ranked = top_n(np.ones((users, 1), np.float32), scores[:, None], 4, seed=11)
    assert (ranked[:, 0] == 3).all()
    counts = np.bincount(ranked[:, 1:].ravel(), minlength=12)
    assert counts[[3, 7]].tolist() == [0, 0]
    tied = np.flatnonzero(scores == 1)
    assert stats.chisquare(counts[tied]).pvalue > 1e-3


def test_ties_inside_a_list_come_in_every_order_equally_often():
    # Three items tie and all are listed: 6 orders, each a sixth of the time.
    ranked = top_n(np.ones((12_000, 1), np.float32), np.array([[5], [5], [9], [5]], np.float32), 4, seed=5)
    assert (ranked[:, 0] == 2).all()
    _, counts = np.unique(ranked[:, 1:], axis=0, return_counts=True)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-3


def test_the_order_of_ties_does_not_follow_the_rows():
    places = np.argsort(top_n(np.zeros((4000, 1), np.float32), np.zeros((30, 1), np.float32), 30), axis=1)
    # The mean place of an item is 14.5 with a standard error of sqrt((30^2 - 1) / 12 / 4000) = 0.137.
    assert np.abs(places.mean(axis=0) - 14.5).max() < 5 * 0.137


def test_equal_item_vectors_tie_exactly_wherever_they_lie():
    # Summed in another order, equal vectors' scores would differ in the last bit and one of them would always win.
    random = np.random.default_rng(1)
    users, items = random.standard_normal((3000, 57), dtype=np.float32), np.zeros((203, 57), np.float32)
    items[[2, 100, 202], 1:] = random.standard_normal(56, dtype=np.float32)
    items[100, 0] = -0.0
    liked = users[users @ items[2] > 0]
    first = np.bincount(top_n(liked, items, 1)[:, 0], minlength=203)[[2, 100, 202]]
    assert first.sum() == len(liked)
    assert stats.chisquare(first).pvalue > 1e-3


def test_equal_item_vectors_tie_exactly_in_different_tiles_too():
    random = np.random.default_rng(2)
    half = random.standard_normal((3000, 40), dtype=np.float32)
    half[:, ::5] = 1  # What is compared first says nothing.
    users, items = random.standard_normal((300, 40), dtype=np.float32), np.concatenate([half, half])
    pairs = top_n(users, items, 20, seed=1).reshape(300, 10, 2)
    assert (np.sort(pairs, axis=2)[:, :, 0] + 3000 == np.sort(pairs, axis=2)[:, :, 1]).all()
    assert stats.binomtest(int((pairs[:, :, 0] < 3000).sum()), 3000).pvalue > 1e-3


def test_memory_does_not_grow_with_users_times_items():
    users, items = np.ones((2000, 1), np.float32), np.arange(50_000, dtype=np.float32)[:, None]
    tracemalloc.start()
    try:
        ranked = top_n(users, items, 3)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (ranked == [49_999, 49_998, 49_997]).all()
    # All scores of two threads' tiles of users would take 2 * 256 * 50,000 * 4 bytes = 102 MB.
    assert most < 60e6


def test_equal_sparse_item_vectors_tie_exactly_wherever_they_lie():
    random = np.random.default_rng(1)
    users = sparse.csr_array(random.random((3000, 57), dtype=np.float32))
    items = np.zeros((203, 57), np.float32)
    items[[2, 100, 202]] = random.random(57, dtype=np.float32)
    first = np.bincount(top_n(users, sparse.csr_array(items), 1)[:, 0], minlength=203)[[2, 100, 202]]
    assert first.sum() == 3000
    assert stats.chisquare(first).pvalue > 1e-3


def test_ranking_leaves_sparse_vectors_as_they_were():
    users, items = (sparse.csr_matrix(np.arange(6, dtype=np.float64).reshape(3, 2)) for _ in range(2))
    top_n(users, items, 2)
    for vectors in (users, items):
        assert vectors.dtype == np.float64 and vectors.toarray().tolist() == [[0, 1], [2, 3], [4, 5]]


def test_negative_zero_ties_with_zero():
    ranked = top_n(np.ones((2000, 1), np.float32), np.array([[0.0], [-0.0]], np.float32), 1)
    assert 850 < ranked.sum() < 1150  # Binomial(2000, 1/2): 1000 +- 6.7 standard deviations of 22.4.


def test_everything_seen_gives_an_empty_list():
    everything = sparse.csr_array(np.ones((2, 3), np.float32))
    assert (top_n(np.ones((2, 1), np.float32), np.ones((3, 1), np.float32), 2, seen=everything) == NO_ITEM).all()


def test_a_stored_zero_in_seen_is_not_seen():
    seen = sparse.csr_array((np.array([0.0], np.float32), np.array([0]), np.array([0, 1])), shape=(1, 2))
    items = np.array([[2], [1]], np.float32)
    assert top_n(np.ones((1, 1), np.float32), items, 2, seen=seen).tolist() == [[0, 1]]


def test_no_users_or_no_candidates_is_legal():
    items = np.ones((3, 2), np.float32)
    assert top_n(np.ones((0, 2), np.float32), items, 5).shape == (0, 5)
    nobody = top_n(np.ones((4, 2), np.float32), items, 5, candidates=np.zeros(3, bool))
    assert (nobody == NO_ITEM).all() and nobody.shape == (4, 5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["user_vectors", "item_vectors"])
def test_a_diverged_model_is_refused(side, value):
    vectors = {name: np.ones((5, 3), np.float32) for name in ("user_vectors", "item_vectors")}
    vectors[side][4, 1] = value
    with pytest.raises(ValueError, match=rf"{side}: 1 of 5 vectors are not finite"):
        top_n(**vectors, n=2)
    with pytest.raises(ValueError, match=rf"{side}: 1 of 5 vectors are not finite"):
        top_n(**{name: sparse.csr_array(dense) for name, dense in vectors.items()}, n=2)


def test_scores_that_overflow_are_refused():
    with pytest.raises(ValueError, match="diverged"):
        top_n(np.full((1, 2), 1e25, np.float32), np.full((3, 2), 1e25, np.float32), 1)
    with pytest.raises(ValueError, match="diverged"):
        top_n(sparse.csr_array(np.full((1, 2), 1e25)), sparse.csr_array(np.full((3, 2), 1e25)), 1)


def test_rows_that_are_no_candidates_may_hold_anything():
    items = np.array([[np.nan], [1], [2]], np.float32)
    assert top_n(np.ones((1, 1), np.float32), items, 3, candidates=np.array([False, True, True])).tolist() == [
        [2, 1, -1]
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user_vectors": np.ones((2, 4), np.float32)}, "one width"),
        ({"item_vectors": sparse.csr_array((3, 3))}, "make the user vectors sparse"),
        ({"n": 0}, "at least 1"),
        ({"block": 0}, "at least 1"),
        ({"seen": sparse.csr_array((2, 4))}, "seen must have"),
        ({"candidates": np.array([1, 0, 1])}, "candidates must be bool"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, message):
    fitting = {"user_vectors": np.ones((2, 1), np.float32), "item_vectors": np.ones((3, 1), np.float32), "n": 1}
    with pytest.raises(ValueError, match=message):
        top_n(**(fitting | change))
