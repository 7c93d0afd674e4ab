from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from m3csr_tf.evaluation.metrics import intervals, per_user


def truth_of(*sets: list[int], items: int) -> sparse.csr_array:
    matrix = np.zeros((len(sets), items), np.float32)
    for row, some in enumerate(sets):
        matrix[row, some] = 1
    return sparse.csr_array(matrix)


def test_metrics_are_those_worked_out_by_hand():
    ranked = np.array([[4, 0, 3, 1], [2, 5, -1, -1]])
    values = per_user(ranked, truth_of([0, 1, 2], [5], items=6), [2, 4])
    # User 0: hits at ranks 2 and 4. Recall 1/3 and 2/3, precision 1/2 and 2/4.
    # DCG@2 = 1/log2(3) = 0.63093, IDCG over min(3, 2) = 1 + 0.63093; DCG@4 = 0.63093 + 1/log2(5) = 1.06161,
    # IDCG over min(3, 4) = 1 + 0.63093 + 0.5 = 2.13093.
    # User 1: the only right item at rank 2; the list has ended after 2, precision still divides by 4.
    np.testing.assert_allclose(values["recall@2"], [1 / 3, 1])
    np.testing.assert_allclose(values["recall@4"], [2 / 3, 1])
    np.testing.assert_allclose(values["precision@2"], [1 / 2, 1 / 2])
    np.testing.assert_allclose(values["precision@4"], [2 / 4, 1 / 4])
    np.testing.assert_allclose(values["ndcg@2"], [0.63093 / 1.63093, 0.63093], atol=1e-5)
    np.testing.assert_allclose(values["ndcg@4"], [1.06161 / 2.13093, 0.63093], atol=1e-5)


@st.composite
def rankings(draw):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    users, items = draw(st.integers(1, 20)), draw(st.integers(1, 30))
    n = draw(st.integers(1, 40))
    ranked = np.full((users, n), -1)
    shuffled = random.permuted(np.tile(np.arange(items), (users, 1)), axis=1)[:, :n]
    ranked[:, : shuffled.shape[1]] = shuffled
    truth = random.random((users, items)) < draw(st.sampled_from([0.05, 0.5, 1.0]))
    truth[np.arange(users), random.integers(0, items, users)] = True
    return ranked, truth


@settings(deadline=None, max_examples=60)
@given(rankings())
def test_metrics_agree_with_counting_one_user_at_a_time(problem):
    ranked, truth = problem
    at = list(range(1, ranked.shape[1] + 1))
    values = per_user(ranked, sparse.csr_array(truth), at)
    for row, n in np.ndindex(len(ranked), len(at)):
        right = set(np.flatnonzero(truth[row]))
        hits = [rank for rank, item in enumerate(ranked[row, : n + 1], start=1) if item in right]
        best = sum(1 / np.log2(rank + 1) for rank in range(1, min(len(right), n + 1) + 1))
        assert values[f"recall@{n + 1}"][row] == pytest.approx(len(hits) / len(right))
        assert values[f"precision@{n + 1}"][row] == pytest.approx(len(hits) / (n + 1))
        assert values[f"ndcg@{n + 1}"][row] == pytest.approx(sum(1 / np.log2(rank + 1) for rank in hits) / best)


@settings(deadline=None, max_examples=40)
@given(rankings())
def test_metrics_lie_between_0_and_1_and_recall_grows_with_the_list(problem):
    ranked, truth = problem
    at = list(range(1, ranked.shape[1] + 1))
    values = per_user(ranked, sparse.csr_array(truth), at)
    assert all((value >= 0).all() and (value <= 1 + 1e-12).all() for value in values.values())
    recalls = np.stack([values[f"recall@{n}"] for n in at])
    assert (np.diff(recalls, axis=0) >= 0).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_a_perfect_list_has_ndcg_1(right, n, seed):
    order = np.random.default_rng(seed).permutation(60)
    values = per_user(order[None, : max(n, right)], truth_of(order[:right].tolist(), items=60), [n])
    assert values[f"ndcg@{n}"][0] == pytest.approx(1)
    assert values[f"recall@{n}"][0] == pytest.approx(min(n, right) / right)


def test_stored_zeros_and_repeated_entries_of_the_truth_do_not_count():
    rows, cols, data = np.array([0, 0, 0]), np.array([1, 1, 2]), np.array([1.0, 1.0, 0.0], np.float32)
    truth = sparse.coo_array((data, (rows, cols)), shape=(1, 3)).tocsr()
    assert per_user(np.array([[1, 2]]), truth, [2])["recall@2"].tolist() == [1.0]


def test_a_list_that_repeats_an_item_is_refused_by_its_user() -> None:
    # A hit that is counted twice would give user 1 a recall of 1.5.
    ranked = np.array([[0, 1, 2], [0, 1, 0], [2, -1, -1]])
    with pytest.raises(ValueError, match=r"the list of user 1 has an item twice \(1 such users\)"):
        per_user(ranked, truth_of([0], [0, 1], [2], items=3), [3])
    assert per_user(ranked[[0, 2]], truth_of([0], [2], items=3), [3])["recall@3"].tolist() == [1, 1]


def test_a_user_without_truth_is_refused():
    with pytest.raises(ValueError, match="1 of 2 users have no truth"):
        per_user(np.array([[0], [1]]), truth_of([0], [], items=2), [1])


@pytest.mark.parametrize("at", [[], [0], [3]])
def test_list_lengths_that_were_not_ranked_are_refused(at):
    with pytest.raises(ValueError, match="list lengths from 1 to 2"):
        per_user(np.array([[0, 1]]), truth_of([0], items=2), at)


def test_intervals_are_those_of_the_binomial_for_hits_and_misses():
    # 100 users, 30 hits: the resampled hits are Binomial(100, 0.3), whose 2.5% and 97.5% quantiles are 21 and 39.
    hits = np.repeat([1.0, 0.0], [30, 70])
    low, high = intervals({"recall@20": hits}, 20_000, seed=0)["recall@20"]
    assert (low, high) == (pytest.approx(0.21, abs=0.0101), pytest.approx(0.39, abs=0.0101))


def test_intervals_agree_with_resampling_users_one_at_a_time():
    random = np.random.default_rng(2)
    values = random.random(200) ** 3
    means = values[random.integers(0, 200, (20_000, 200))].mean(axis=1)
    ends = intervals({"recall@20": values, "ndcg@20": -values}, 20_000, seed=1)
    np.testing.assert_allclose(ends["recall@20"], np.quantile(means, [0.025, 0.975]), atol=0.002)
    # The same users were drawn for both metrics, so the second is the mirror image of the first.
    np.testing.assert_allclose(ends["ndcg@20"], [-ends["recall@20"][1], -ends["recall@20"][0]], atol=1e-12)


def test_intervals_depend_on_the_seed_alone():
    values = {"recall@20": np.random.default_rng(0).random(50)}
    assert intervals(values, 500, seed=1) == intervals(values, 500, seed=1)
    assert intervals(values, 500, seed=1) != intervals(values, 500, seed=2)


def test_users_who_agree_leave_no_doubt():
    assert intervals({"recall@20": np.full(7, 0.25)}, 100, seed=0) == {"recall@20": (0.25, 0.25)}
