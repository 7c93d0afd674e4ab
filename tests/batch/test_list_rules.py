"""Caps and near-duplicates: lists against going down the whole ranking, one item after the other."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3csr_tf.batch import list_rules, rule_search
from m3csr_tf.batch.filters import Selection
from m3csr_tf.batch.list_rules import ListRules
from m3csr_tf.batch.rule_search import lists_by_rules
from m3csr_tf.batch.search import Candidates, Seen
from m3csr_tf.config import IndexConfig
from m3csr_tf.ids import NO_ITEM
from m3csr_tf.index import build_index


def allows(rules: ListRules, taken: list[int], item: int) -> bool:
    """Whether an item may follow those that a list holds, by the definition."""
    for name, cap in rules.caps.items():
        value = rules.values[name][item]
        if value >= 0 and sum(rules.values[name][other] == value for other in taken) >= cap:
            return False
    if rules.near_duplicates is None or rules.contents is None:
        return True
    contents = rules.contents.astype(np.float64)
    return all(contents[item] @ contents[other] < rules.near_duplicates - 1e-5 for other in taken)


def greedy(rules: ListRules, ranking: list[int], n: int, taken: list[int]) -> list[int]:
    """The list that holds `taken`, and then what is allowed of a ranking, from its best item on."""
    taken = list(taken)
    for item in ranking:
        if len(taken) < n and item not in taken and allows(rules, taken, item):
            taken.append(item)
    return taken


def by_definition(rules: ListRules, ranking: list[int], n: int, is_cold: np.ndarray, quota: float) -> list[int]:
    """The greedy list; or, where it holds too few cold items and can hold more, the one that reserves their places."""
    plain = greedy(rules, ranking, n, [])
    least = math.ceil(Fraction(str(quota)) * n)
    cold = greedy(rules, [item for item in ranking if is_cold[item]], least, [])
    held = sum(is_cold[item] for item in plain)
    if held >= least or len(cold) <= held:
        return plain
    chosen = greedy(rules, ranking, n, cold)
    return sorted(chosen, key=ranking.index)


def seen_by(past: list[list[int]], items: int) -> Seen:
    users = np.repeat(np.arange(len(past)), [len(rows) for rows in past]).astype(np.int64)
    return Seen(users, np.array([row for rows in past for row in rows], np.int64), items)


def lists(found: np.ndarray) -> list[list[int]]:
    assert all(NO_ITEM not in row[: int((row != NO_ITEM).sum())] for row in found)
    return [[int(item) for item in row if item != NO_ITEM] for row in found]


def contents_of(random: np.random.Generator, items: int) -> np.ndarray:
    """Contents of which many are alike or the same, and some are nothing."""
    some = random.integers(-1, 2, (items, 3)).astype(np.float64)
    lengths = np.linalg.norm(some, axis=1, keepdims=True)
    return np.divide(some, lengths, out=np.zeros_like(some), where=lengths > 0).astype(np.float32)


@given(
    seed=st.integers(0, 2**32 - 1),
    items=st.integers(1, 40),
    n=st.integers(1, 12),
    caps=st.dictionaries(st.sampled_from(["author", "sound"]), st.integers(1, 3)),
    near=st.sampled_from([None, 0.6, 0.75, 1.0]),
    quota=st.sampled_from([0.0, 0.3, 1.0]),
    seen_share=st.sampled_from([0.0, 0.3]),
    hidden_share=st.sampled_from([0.0, 0.3]),
)
@settings(deadline=None, max_examples=150)
def test_lists_are_those_of_going_down_the_whole_ranking(
    seed: int,
    items: int,
    n: int,
    caps: dict[str, int],
    near: float | None,
    quota: float,
    seen_share: float,
    hidden_share: float,
) -> None:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(items, 4)).astype(np.float32)
    queries = random.normal(size=(3, 4)).astype(np.float32)
    index = build_index([f"i{row}" for row in range(items)], vectors, IndexConfig())
    values = {name: random.integers(-1, 4, items) for name in caps}
    rules = ListRules(caps, values, near, None if near is None else contents_of(random, items))
    past = [np.flatnonzero(random.random(items) < seen_share).tolist() for _ in queries]
    hidden, is_cold = random.random(items) < hidden_share, random.random(items) < 0.4
    may = [[row for row in range(items) if row not in rows and not hidden[row]] for rows in past]
    scores = queries.astype(np.float64) @ vectors.T
    rankings = [sorted(rows, key=lambda row: -line[row]) for rows, line in zip(may, scores, strict=True)]
    selection = Selection(Candidates(index, hidden=hidden))
    if quota and (is_cold & ~hidden).any():
        selection = Selection(
            Candidates(index, hidden=hidden), Candidates(index, hidden=hidden | ~is_cold), is_cold, quota
        )
    found, found_scores = lists_by_rules(selection, queries, seen_by(past, items), n, rules)
    expected = [by_definition(rules, ranking, n, is_cold, selection.quota) for ranking in rankings]
    assert lists(found) == expected
    for row, line, score in zip(found, scores, found_scores, strict=True):
        there = row != NO_ITEM
        np.testing.assert_allclose(score[there], line[row[there]], atol=1e-5)
        assert (score[~there] == -np.inf).all()


def test_the_choice_does_not_depend_on_how_much_is_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    rows = np.stack([random.permutation(60) for _ in range(20)])
    scores = -np.sort(-random.normal(size=rows.shape), axis=1).astype(np.float32)
    rules = ListRules({"author": 1}, {"author": random.integers(-1, 30, 60)}, 0.9, contents_of(random, 60))
    whole, _ = rules.choose(rows, scores, 9)
    monkeypatch.setattr(list_rules, "COMPARED_AT_ONCE", 5)
    monkeypatch.setattr(list_rules, "ENTRIES_AT_ONCE", 100)
    np.testing.assert_array_equal(rules.choose(rows, scores, 9)[0], whole)
    assert [row for row in lists(whole)] == [greedy(rules, ranking, 9, []) for ranking in rows.tolist()]


def test_a_list_goes_on_until_the_catalogue_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    # The 98 best are of one author, so that the second of the list is the 99th of the ranking.
    vectors = np.arange(100, 0, -1, dtype=np.float32)[:, np.newaxis]
    index = build_index([f"i{row}" for row in range(100)], vectors, IndexConfig())
    rules = ListRules({"author": 1}, {"author": np.array([0] * 98 + [1, 1])})
    fetched: list[int] = []
    real = rule_search.nearest
    monkeypatch.setattr(rule_search, "nearest", lambda *given: fetched.append(given[3]) or real(*given))
    nobody = seen_by([[]], 100)
    found, scores = lists_by_rules(Selection(Candidates(index)), np.ones((1, 1), np.float32), nobody, 3, rules)
    assert found.tolist() == [[0, 98, NO_ITEM]] and scores.tolist() == [[100, 2, -np.inf]]
    assert fetched == [6, 12, 24, 48, 96, 100]


def test_users_whose_lists_are_full_are_not_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.stack([np.arange(40, 0, -1), np.arange(1, 41)], axis=1).astype(np.float32)
    index = build_index([f"i{row}" for row in range(40)], vectors, IndexConfig())
    rules = ListRules({"author": 1}, {"author": np.array([0] * 30 + list(range(1, 11)))})
    searched: list[int] = []
    real = rule_search.nearest
    monkeypatch.setattr(rule_search, "nearest", lambda *given: searched.append(len(given[1])) or real(*given))
    queries = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    found, _ = lists_by_rules(Selection(Candidates(index)), queries, seen_by([[], [], []], 40), 2, rules)
    assert found.tolist() == [[0, 30], [39, 38], [0, 30]]
    assert searched[0] == 3 and set(searched[1:]) == {2}


def test_an_approximate_index_still_gives_full_lists_that_keep_to_the_rules() -> None:
    random = np.random.default_rng(2)
    vectors, queries = random.normal(size=(2000, 16)), random.normal(size=(50, 16))
    vectors, queries = vectors.astype(np.float32), queries.astype(np.float32)
    ids = [f"i{row}" for row in range(2000)]
    index = build_index(ids, vectors, IndexConfig(kind="tree", recall=0.9, recall_at=20), queries=queries)
    authors = random.integers(0, 12, 2000)
    rules = ListRules({"author": 2}, {"author": authors})
    nobody = seen_by([[]] * 50, 2000)
    found, _ = lists_by_rules(Selection(Candidates(index)), queries, nobody, 20, rules)
    assert (found != NO_ITEM).all()
    assert max(np.bincount(authors[row]).max() for row in found) == 2
    scores = queries @ vectors.T
    exact = [greedy(rules, np.argsort(-line).tolist(), 20, []) for line in scores]
    assert np.mean([len(set(a) & set(b)) / 20 for a, b in zip(found.tolist(), exact, strict=True)]) > 0.85


def test_the_best_of_near_duplicates_is_the_one_that_stays() -> None:
    same, other = [1.0, 0.0], [0.0, 1.0]
    near = [math.cos(0.1), math.sin(0.1)]  # A cosine of 0.995 with `same`.
    contents = np.array([other, near, same, [0.0, 0.0], [0.0, 0.0]], np.float32)
    ranking = np.array([[2, 1, 3, 0, 4]])
    scores = np.array([[5, 4, 3, 2, 1]], np.float32)
    for threshold, expected in ((0.99, [2, 3, 0, 4]), (0.996, [2, 1, 3, 0])):
        rules = ListRules(near_duplicates=threshold, contents=contents)
        rows, values = rules.choose(ranking, scores, 4)
        assert rows.tolist() == [expected]
        assert values.tolist() == [[float(scores[0, ranking[0].tolist().index(row)]) for row in expected]]


def test_items_without_a_value_are_not_capped() -> None:
    rules = ListRules({"author": 1}, {"author": np.array([-1, 0, -1, 0, 1])})
    rows, _ = rules.choose(np.array([[0, 1, 2, 3, 4]]), np.array([[5, 4, 3, 2, 1]], np.float32), 5)
    assert rows.tolist() == [[0, 1, 2, 4, NO_ITEM]]


def test_reserved_items_count_for_the_caps_and_the_list_is_sorted_by_score() -> None:
    rules = ListRules({"author": 1}, {"author": np.array([0, 1, 0, 2])})
    reserved = np.array([[2, NO_ITEM]]), np.array([[1, -np.inf]], np.float32)
    rows, scores = rules.choose(np.array([[0, 1, 2, 3]]), np.array([[4, 3, 1, 0.5]], np.float32), 3, reserved)
    assert rows.tolist() == [[1, 2, 3]] and scores.tolist() == [[3, 1, 0.5]]
