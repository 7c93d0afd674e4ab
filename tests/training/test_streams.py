"""Training batches: what they depend on, what they visit, and what never happens in them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.stats import chisquare
from small_clicks import batch_of, item_rows, stream, training_data, users_of

from m3csr_tf import columns
from m3csr_tf.graph.cross_fitting import CrossIds
from m3csr_tf.graph.item_graph import ItemGraph
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.layers.interest_attention import SHORT
from m3csr_tf.sampling.cumulative_sampler import positive_probabilities
from m3csr_tf.sampling.training_data import TrainingData

KINDS: list[dict[str, Any]] = [{"kind": "uniform"}, {"kind": "shared", "count": 50}, {"kind": "in_batch"}]
POSITIVES = ["per_interaction", "per_user"]
SMALL_WORLDS = {"users": st.integers(1, 12), "items": st.integers(2, 12), "clicks": st.integers(1, 60)}

kinds = pytest.mark.parametrize("negatives", KINDS, ids=[kind["kind"] for kind in KINDS])


def as_numpy(dataset: tf.data.Dataset) -> list[dict[str, Any]]:
    return [tf.nest.map_structure(np.asarray, batch) for batch in dataset.as_numpy_iterator()]


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    tf.nest.map_structure(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("positives", POSITIVES)
@kinds
def test_a_stream_started_later_goes_on_as_the_uninterrupted_one(negatives: dict[str, Any], positives: str) -> None:
    data = training_data(20, 30, 90)
    options = {"batch_size": 16, "positives": positives, "item_id_dropout": 0.3, "user_id_dropout": 0.3, "dropout": 0.5}
    whole = as_numpy(stream(data, negatives, **options).dataset(0, 10))
    later = as_numpy(stream(data, negatives, **options).dataset(6, 4))
    assert len(whole) == 10
    for one, other in zip(whole[6:], later, strict=True):
        assert_equal(one, other)
    assert_equal(whole[3], batch_of(stream(data, negatives, **options), 3))


@kinds
def test_batches_change_with_the_step_and_the_seed(negatives: dict[str, Any]) -> None:
    data = training_data(20, 30, 90)
    drawn = [
        batch_of(stream(data, negatives, seed, batch_size=16, item_id_dropout=0.5), step)
        for seed, step in [(0, 0), (0, 1), (1, 0), (2**32 - 1, 0)]
    ]
    for place, one in enumerate(drawn):
        for other in drawn[:place]:
            assert item_rows(one, "positive").tolist() != item_rows(other, "positive").tolist()
            assert one["positive_id_dropped"].tolist() != other["positive_id_dropped"].tolist()
            if "negative" in one:
                assert item_rows(one, "negative").tolist() != item_rows(other, "negative").tolist()


@settings(deadline=None, max_examples=12)
@given(**SMALL_WORLDS, size=st.integers(2, 30), seed=st.integers(0, 2**31))
def test_an_epoch_visits_every_interaction_once(users: int, items: int, clicks: int, size: int, seed: int) -> None:
    data = training_data(users, items, clicks, seed % 1000)
    chosen = stream(data, seed=seed, batch_size=size)
    epoch = chosen.examples_per_epoch
    assert epoch == data.clicks.nnz
    batches = [batch_of(chosen, step) for step in range(-(-2 * epoch // size))]
    visited = [pair for batch in batches for pair in zip(users_of(batch), item_rows(batch, "positive"), strict=True)]
    expected = sorted(zip(*data.clicks.nonzero(), strict=True))
    assert sorted(visited[:epoch]) == sorted(visited[epoch : 2 * epoch]) == expected


def crossed(data: TrainingData, parts: int = 3) -> TrainingData:
    """Every third user sees the same ids: row i of part p is (p + 1, i), and zeros where only that part clicked i."""
    of_user = np.where(np.diff(data.clicks.indptr) > 0, np.arange(data.clicks.shape[0]) % parts, -1).astype(np.int32)
    ids = np.zeros((parts, data.clicks.shape[1], 2), np.float32)
    for part in range(parts):
        others = np.flatnonzero(data.clicks[of_user != part].sum(axis=0).A1)
        ids[part, others] = np.stack([np.full(len(others), part + 1), others], axis=1)
    return dataclasses.replace(data, cross_ids=CrossIds(of_user, ids))


@pytest.mark.parametrize("positives", POSITIVES)
@kinds
def test_the_examples_of_a_part_of_the_users_see_its_ids_and_none_of_what_it_alone_clicked(
    negatives: dict[str, Any], positives: str
) -> None:
    data = crossed(training_data(20, 30, 60))
    assert data.cross_ids is not None
    chosen = stream(data, negatives, batch_size=16, positives=positives)
    unplaced = 0
    for step in range(6):
        part, batch = step % 3, batch_of(chosen, step)
        assert set(data.cross_ids.parts[users_of(batch)]) == {part}
        items, ids = batch["items"], batch["items"][columns.ID_VECTOR]
        rows = data.features["visual"]
        for row, vector, content in zip(items[columns.ITEM_ROW], ids, items["visual"], strict=True):
            (own,) = np.flatnonzero((rows == content).all(axis=1))[:1]
            np.testing.assert_array_equal(vector, data.cross_ids.ids[part, own])
            assert row == own or own < FIRST_ROW
            unplaced += own >= FIRST_ROW and not vector.any()
    assert unplaced


@pytest.mark.parametrize("positives", POSITIVES)
def test_an_epoch_of_parts_visits_every_example_of_each_part_once(positives: str) -> None:
    data = crossed(training_data(21, 12, 80))
    assert data.cross_ids is not None
    chosen = stream(data, batch_size=5, positives=positives)
    whole = stream(dataclasses.replace(data, cross_ids=None), batch_size=5, positives=positives)
    assert chosen.examples_per_epoch == whole.examples_per_epoch
    for part in range(3):
        of_part = np.flatnonzero(data.cross_ids.parts == part)
        examples = len(of_part) if positives == "per_user" else data.clicks[of_part].nnz
        steps = [3 * turn + part for turn in range(-(-examples // 5))]
        users = np.concatenate([users_of(batch_of(chosen, step)) for step in steps])[:examples]
        expected = of_part if positives == "per_user" else np.repeat(of_part, np.diff(data.clicks[of_part].indptr))
        np.testing.assert_array_equal(np.sort(users), expected)


def test_a_stream_of_parts_started_later_goes_on_as_the_uninterrupted_one() -> None:
    data, options = crossed(training_data(20, 30, 90)), {"batch_size": 16, "dropout": 0.5}
    whole = as_numpy(stream(data, **options).dataset(0, 9))
    for one, other in zip(whole[4:], as_numpy(stream(data, **options).dataset(4, 5)), strict=True):
        assert_equal(one, other)


def test_every_epoch_has_an_order_of_its_own() -> None:
    chosen = stream(training_data(20, 30, 90), batch_size=2, positives="per_user")
    epoch = chosen.examples_per_epoch // 2
    orders = [np.concatenate([users_of(batch_of(chosen, step)) for step in range(k, k + epoch)]) for k in (0, epoch)]
    assert sorted(orders[0]) != orders[0].tolist()
    assert orders[0].tolist() != orders[1].tolist()


@settings(deadline=None, max_examples=12)
@given(**SMALL_WORLDS, size=st.integers(2, 30), seed=st.integers(0, 1000))
def test_per_user_an_epoch_visits_every_active_user_once_and_gives_her_a_click_of_hers(
    users: int, items: int, clicks: int, size: int, seed: int
) -> None:
    data = training_data(users, items, clicks, seed)
    chosen = stream(data, seed=seed, batch_size=size, positives="per_user")
    active = np.flatnonzero(np.diff(data.clicks.indptr))
    assert chosen.examples_per_epoch == len(active)
    batches = [batch_of(chosen, step) for step in range(-(-len(active) // size))]
    drawn = np.concatenate([users_of(batch) for batch in batches])
    np.testing.assert_array_equal(np.sort(drawn[: len(active)]), active)
    positives = np.concatenate([item_rows(batch, "positive") for batch in batches])
    assert (data.clicks[drawn, positives] == 1).all()


def test_per_user_a_users_clicks_are_drawn_alike() -> None:
    data = training_data(1, 6, 200)
    chosen = stream(data, batch_size=500, positives="per_user")
    counts = np.bincount(item_rows(batch_of(chosen, 0), "positive"), minlength=8)[FIRST_ROW : FIRST_ROW + 5]
    assert chisquare(counts).pvalue > 0.01


@settings(deadline=None, max_examples=20)
@given(**SMALL_WORLDS, slots=st.integers(1, 8), seed=st.integers(0, 1000), positives=st.sampled_from(POSITIVES))
def test_the_target_is_never_in_the_history_that_predicts_it_and_the_rest_is(
    users: int, items: int, clicks: int, slots: int, seed: int, positives: str
) -> None:
    data = training_data(users, items, clicks, seed, slots)
    batch = batch_of(stream(data, batch_size=25, positives=positives), seed)
    targets = item_rows(batch, "positive")
    for user, target, history in zip(
        users_of(batch), targets, item_rows(batch, "query_slots")[batch["query"]], strict=True
    ):
        assert target not in history
        assert set(history) - {PADDING_ROW} == set(data.histories[user]) - {target, PADDING_ROW}


def test_the_target_stays_in_the_history_if_it_is_not_to_be_masked() -> None:
    data = training_data(20, 30, 60, slots=30)
    batch = batch_of(stream(data, batch_size=25, mask_target=False), 0)
    for target, history in zip(
        item_rows(batch, "positive"), item_rows(batch, "query_slots")[batch["query"]], strict=True
    ):
        assert target in history


def test_a_user_shown_as_unknown_keeps_her_history() -> None:
    data = training_data(20, 30, 90)
    plain, hidden = (batch_of(stream(data, batch_size=40, user_id_dropout=share), 0) for share in (0.0, 1.0))
    assert (hidden["query_user"] == UNKNOWN_ROW).all()
    histories = [item_rows(batch, "query_slots")[batch["query"]] for batch in (plain, hidden)]
    np.testing.assert_array_equal(*histories)


def test_a_query_is_listed_once_however_many_examples_share_it() -> None:
    data = training_data(4, 30, 90)
    batch = batch_of(stream(data, batch_size=60, mask_target=False), 0)
    assert len(batch["query_user"]) == len(set(batch["query_user"])) == 4
    masked = batch_of(stream(data, batch_size=60), 0)
    queries = {(user, *slots) for user, slots in zip(masked["query_user"], masked["query_slots"], strict=True)}
    assert len(queries) == len(masked["query_user"]) > 4


def test_queries_of_short_histories_come_first() -> None:
    data = training_data(20, 30, 120, slots=9)
    batch = batch_of(stream(data, batch_size=60), 0)
    short = [int((data.histories[user] != PADDING_ROW).sum()) <= SHORT for user in batch["query_user"]]
    assert 0 < batch["short_queries"] < len(short)
    assert short == sorted(short, reverse=True) and sum(short) == batch["short_queries"]


@kinds
def test_items_are_distinct_their_features_are_theirs_and_line_0_is_the_padding_item(
    negatives: dict[str, Any],
) -> None:
    data = training_data(20, 30, 90)
    for step in range(4):
        batch = batch_of(stream(data, negatives, batch_size=16), step)
        rows = batch["items"][columns.ITEM_ROW]
        assert rows[0] == PADDING_ROW
        assert len(set(rows)) == len(rows)
        for name, values in data.features.items():
            np.testing.assert_array_equal(batch["items"][name], values[rows])
        used = [batch["query_slots"].ravel(), batch["positive"], batch.get("negative", np.zeros(0, int))]
        assert set(np.concatenate(used)) | {0} == set(range(len(rows)))


def histories_of(batch: dict[str, Any]) -> np.ndarray:
    """Item rows of each example's history, PADDING_ROW where its query has no click."""
    return item_rows(batch, "query_slots")[batch["query"]]


@pytest.mark.parametrize("chance", [0.25, 0.5, 0.9])
def test_dropout_leaves_clicks_out_of_histories_as_often_as_configured_and_keeps_one_of_each(chance: float) -> None:
    data = training_data(300, 400, 4000, slots=20)
    batch = batch_of(stream(data, batch_size=2000, mask_target=False, dropout=chance), 0)
    whole, kept = data.histories[batch["query_user"]], item_rows(batch, "query_slots")
    np.testing.assert_array_equal(kept[kept != PADDING_ROW], whole[kept != PADDING_ROW])  # Nothing else moves.
    lengths, left = (whole != PADDING_ROW).sum(axis=1), (kept != PADDING_ROW).sum(axis=1)
    assert len(lengths) > 290 and left.min() >= 1
    # Of n clicks n (1 - p) are kept, and the one of the lowest number, which would be left out 1 - (1 - p)^n times.
    expected = (lengths * (1 - chance) + 1 - (1 - chance) ** lengths).sum() / lengths.sum()
    # Five standard deviations of the mean of some 4,000 draws are 0.04 at most.
    assert left.sum() / lengths.sum() == pytest.approx(expected, abs=0.04)


def test_all_examples_of_a_user_leave_out_the_same_clicks_at_a_step_so_that_they_share_a_query() -> None:
    data = training_data(4, 300, 400, slots=60)
    whole = batch_of(stream(data, batch_size=60, mask_target=False, dropout=0.5), 0)
    assert len(whole["query_user"]) == len(set(whole["query_user"])) == 4
    of_user = dict(zip(whole["query_user"], item_rows(whole, "query_slots"), strict=True))
    masked = batch_of(stream(data, batch_size=60, dropout=0.5), 0)
    assert len(masked["query_user"]) > 20
    for user, target, history in zip(
        users_of(masked), item_rows(masked, "positive"), histories_of(masked), strict=True
    ):
        np.testing.assert_array_equal(history, np.where(of_user[user] == target, PADDING_ROW, of_user[user]))
    hidden = batch_of(stream(data, batch_size=60, dropout=0.5, user_id_dropout=1.0), 0)
    np.testing.assert_array_equal(histories_of(hidden), histories_of(masked))


def test_what_is_left_out_changes_with_the_step_and_the_seed_alone() -> None:
    data = training_data(1, 300, 200, slots=60)

    def history(step: int, seed: int) -> list[int]:
        return item_rows(
            batch_of(stream(data, seed=seed, mask_target=False, dropout=0.5), step), "query_slots"
        ).tolist()

    assert history(3, 1) == history(3, 1)
    assert history(3, 1) != history(4, 1) and history(3, 1) != history(3, 2)


def test_the_target_is_masked_before_clicks_are_left_out_so_that_the_other_of_two_always_stays() -> None:
    data = training_data(200, 60, 400)
    batch = batch_of(stream(data, batch_size=400, dropout=0.9), 0)
    users, targets, kept = users_of(batch), item_rows(batch, "positive"), histories_of(batch)
    clicks = np.diff(data.clicks.indptr)[users]
    assert (clicks == 2).sum() > 50 and (clicks == 1).sum() > 10
    for user, target, history in zip(users[clicks == 2], targets[clicks == 2], kept[clicks == 2], strict=True):
        assert set(history) - {PADDING_ROW} == set(data.clicks[user].indices) - {target}
    assert (kept[clicks == 1] == PADDING_ROW).all()  # Of her who has clicked the target alone nothing is known.
    assert (kept != targets[:, np.newaxis]).all()


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10_000), positives=st.sampled_from(POSITIVES))
def test_a_uniform_negative_is_no_training_positive_of_its_user(seed: int, positives: str) -> None:
    # Nobody clicked more than a few in a hundred: five draws that are all hers do not happen.
    data = training_data(60, 300, 120, seed)
    batch = batch_of(stream(data, batch_size=200, positives=positives), seed)
    assert len(batch["negative"]) == 200
    assert (data.clicks[users_of(batch), item_rows(batch, "negative")] == 0).all()


@settings(deadline=None, max_examples=20)
@given(**SMALL_WORLDS, count=st.integers(1, 40), seed=st.integers(0, 1000))
def test_shared_negatives_are_allowed_where_the_user_has_not_clicked_them(
    users: int, items: int, clicks: int, count: int, seed: int
) -> None:
    data = training_data(users, items, clicks, seed)
    batch = batch_of(stream(data, {"kind": "shared", "count": count}, batch_size=15), seed)
    candidates = item_rows(batch, "negative")
    assert len(candidates) == count  # More than there are items: some are drawn twice.
    np.testing.assert_array_equal(batch["allowed"], data.clicks[users_of(batch)][:, candidates].toarray() == 0)


@settings(deadline=None, max_examples=20)
@given(**SMALL_WORLDS, seed=st.integers(0, 1000), positives=st.sampled_from(POSITIVES))
def test_in_batch_candidates_are_allowed_where_the_user_has_not_clicked_them_or_they_are_her_positive(
    users: int, items: int, clicks: int, seed: int, positives: str
) -> None:
    data = training_data(users, items, clicks, seed)
    batch = batch_of(stream(data, {"kind": "in_batch"}, batch_size=25, positives=positives), seed)
    assert "negative" not in batch
    targets = item_rows(batch, "positive")
    unclicked = data.clicks[users_of(batch)][:, targets].toarray() == 0
    np.testing.assert_array_equal(batch["allowed"], unclicked | np.eye(25, dtype=bool))
    np.testing.assert_allclose(batch["positive_probability"], positive_probabilities([data.clicks], positives)[targets])


@pytest.mark.parametrize("kind", ["uniform", "shared"])
def test_the_pool_of_negatives_is_the_clicked_items_or_the_whole_catalogue(kind: str) -> None:
    data = training_data(20, 40, 60)
    clicked = set(data.clicks.indices)
    catalogue = set(range(FIRST_ROW, data.clicks.shape[1]))
    assert len(clicked) < len(catalogue)
    for pool, expected in {"clicked": clicked, "catalogue": catalogue}.items():
        chosen = stream(data, {"kind": kind, "count": 800, "pool": pool}, batch_size=800)
        assert set(item_rows(batch_of(chosen, 0), "negative")) == expected


@pytest.mark.parametrize("pool", ["clicked", "catalogue"])
def test_every_item_of_a_pool_that_is_small_enough_is_a_candidate_once(pool: str) -> None:
    data = training_data(20, 40, 60)
    clicked = np.unique(data.clicks.indices)
    items = clicked if pool == "clicked" else np.arange(FIRST_ROW, data.clicks.shape[1])
    small_enough = {"kind": "shared", "count": 7, "pool": pool, "whole_pool": len(items)}
    for step in range(2):
        batch = batch_of(stream(data, small_enough, batch_size=30), step)
        np.testing.assert_array_equal(item_rows(batch, "negative"), items)
        np.testing.assert_array_equal(batch["allowed"], data.clicks[users_of(batch)][:, items].toarray() == 0)
    too_large = small_enough | {"whole_pool": len(items) - 1}
    assert len(item_rows(batch_of(stream(data, too_large, batch_size=30), 0), "negative")) == 7


def test_shared_negatives_are_drawn_alike() -> None:
    data = training_data(20, 12, 100)
    batch = batch_of(stream(data, {"kind": "shared", "count": 2000}, batch_size=2), 0)
    counts = np.bincount(item_rows(batch, "negative"))[np.unique(data.clicks.indices)]
    assert chisquare(counts).pvalue > 0.01


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_id_dropout_takes_the_ids_of_candidates_and_users_as_often_as_configured(share: float) -> None:
    data = training_data(2000, 30, 6000)
    chosen = stream(
        data,
        {"kind": "shared", "count": 2000},
        batch_size=2000,
        positives="per_user",
        item_id_dropout=share,
        user_id_dropout=share,
    )
    batch = batch_of(chosen, 0)
    # Four standard deviations of a mean of 1,900 draws, at most.
    tolerance = 4 * np.sqrt(share * (1 - share) / 1900)
    for shown in (batch["positive_id_dropped"], batch["negative_id_dropped"], batch["query_user"] == UNKNOWN_ROW):
        assert abs(shown.mean() - share) <= tolerance
    positive, negative = batch["positive_id_dropped"], batch["negative_id_dropped"]
    if share == 0.25:  # Independent draws: they agree as often as chance has it.
        assert abs((positive == negative).mean() - (0.25**2 + 0.75**2)) < 0.05


@settings(deadline=None, max_examples=20)
@given(**SMALL_WORLDS, seed=st.integers(0, 1000))
def test_positive_probabilities_are_those_of_the_draw(users: int, items: int, clicks: int, seed: int) -> None:
    matrix = training_data(users, items, clicks, seed).clicks
    pairs = list(zip(*matrix.nonzero(), strict=True))
    per_interaction, per_user = np.zeros(items + FIRST_ROW), np.zeros(items + FIRST_ROW)
    lengths = {user: sum(other == user for other, _ in pairs) for user, _ in pairs}
    for user, item in pairs:
        per_interaction[item] += 1 / len(pairs)
        per_user[item] += 1 / len(lengths) / lengths[user]
    np.testing.assert_allclose(positive_probabilities(matrix, "per_interaction"), per_interaction, rtol=1e-5)
    np.testing.assert_allclose(positive_probabilities(matrix, "per_user"), per_user, rtol=1e-5)


@pytest.mark.parametrize("positives", POSITIVES)
def test_the_stream_draws_positives_with_those_probabilities(positives: str) -> None:
    data = training_data(15, 8, 60)
    chosen = stream(data, batch_size=6000, positives=positives)
    counts = np.bincount(item_rows(batch_of(chosen, 0), "positive"), minlength=10)
    expected = positive_probabilities([data.clicks], positives)
    there = expected > 0
    assert not counts[~there].any()
    scaled = expected[there].astype(float) * 6000 / expected[there].sum(dtype=float)
    assert chisquare(counts[there], scaled).pvalue > 0.01


def test_walk_positives_come_from_where_the_users_history_leads() -> None:
    # One user with item 2 alone, which leads to item 3 (0.75) and item 4 (0.25); 0.2 of the walks go to item 5, the
    # popular one. Half of the positives are walks.
    clicks = csr_matrix(([1.0], ([2], [2])), shape=(3, 6), dtype=np.float32)
    leads = csr_matrix(([0.75, 0.25], ([2, 2], [3, 4])), shape=(6, 6), dtype=np.float32)
    history = np.array([[0], [0], [2]], np.int32)
    features = {columns.ITEM_ROW: np.arange(6, dtype=np.int32), columns.POPULARITY_BIN: np.zeros(6, np.int32)}
    popularity = np.array([0, 0, 0, 0, 0, 1], np.float32)
    data = TrainingData(
        clicks, history, features, np.arange(6) == 2, ItemGraph(leads, popularity, popularity_share=0.2)
    )
    walking = stream(data, {"kind": "shared", "count": 2}, walk_positives=0.5, batch_size=8000)
    found = np.bincount(item_rows(batch_of(walking, 0), "positive"), minlength=6) / 8000
    # Five standard deviations of a share of 8,000 are at most 0.028.
    np.testing.assert_allclose(found, [0, 0, 0.5, 0.3, 0.1, 0.1], atol=0.028)


def test_a_walk_to_what_the_user_has_clicked_gives_her_click_instead() -> None:
    data = training_data(users=30, items=12, clicks=150)
    walked = batch_of(stream(data, {"kind": "shared", "count": 2}, walk_positives=1.0, batch_size=500), 3)
    plain = batch_of(stream(data, {"kind": "shared", "count": 2}, batch_size=500), 3)
    now, before = item_rows(walked, "positive"), item_rows(plain, "positive")
    known = np.asarray(data.clicks[users_of(walked), now]).ravel() > 0
    assert known.any() and not known.all()
    np.testing.assert_array_equal(now[known], before[known])
