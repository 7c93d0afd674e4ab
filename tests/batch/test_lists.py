"""Lists of a batch: they agree with exact ranking, leave out what was seen, and say what makes their scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from one_batch import top_n_lists

from m3csr_tf import columns
from m3csr_tf.batch.users import PreparedUsers
from m3csr_tf.data.audience import Audience
from m3csr_tf.explain import explain
from m3csr_tf.features.histories import click_matrix
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.releases.publish import publish
from m3csr_tf.sampling.training_data import item_features
from m3csr_tf.training.vectors import VectorEncoder

PARTS = ["part_id", "part_visual", "part_acoustic", "part_popularity"]


def own_users(run: Any) -> tuple[pd.DataFrame, np.ndarray]:
    """The run's users as a batch job takes them, and the histories they came from."""
    prepared = run.prepared
    audience = Audience(prepared, run.config, columns.SPLITS)
    users = PreparedUsers(prepared, audience)
    return users.frame(0, users.count()), audience.histories(np.arange(len(prepared.users)))


def whole_log(prepared: Any) -> pd.DataFrame:
    return pd.concat([prepared.split(split) for split in columns.SPLITS], ignore_index=True)


def keras_lists(run: Any, slots: np.ndarray, n: int) -> list[list[str]]:
    """Top-N ids of the run's users by the Keras towers and plain sorting, their clicks left out."""
    prepared = run.prepared
    encoder = VectorEncoder(run.model, item_features(prepared))
    rows = np.arange(FIRST_ROW, len(prepared.users))
    scores = encoder.users(rows, slots[rows]) @ encoder.items().T
    clicks = click_matrix(whole_log(prepared), len(prepared.users), len(prepared.items))[rows]
    scores[clicks.nonzero()] = -np.inf
    scores[:, :FIRST_ROW] = -np.inf
    return [list(prepared.items.ids(line)) for line in np.argsort(-scores, axis=1)[:, :n]]


def overlap(lists: pd.DataFrame, expected: list[list[str]]) -> float:
    found = [list(group) for _, group in lists.groupby(columns.USER_ID, sort=False)[columns.ITEM_ID]]
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, expected, strict=True)]))


def a_user(user: str, history: list[str], exclusions: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {columns.USER_ID: [user], columns.HISTORY: [history], columns.EXCLUSIONS: [exclusions]}, dtype=object
    )


def test_lists_are_those_of_exact_ranking_by_the_keras_towers(release: Any, untrained_run: Any) -> None:
    users, slots = own_users(untrained_run)
    lists = top_n_lists(release, users, 20)
    # Two items without a click and without content have the same vector, so that either may be the last of a list.
    assert overlap(lists, keras_lists(untrained_run, slots, 20)) > 0.995
    assert (lists[columns.MODEL_VERSION] == release.version).all()
    assert lists[columns.USER_ID].tolist() == np.repeat(users[columns.USER_ID], 20).tolist()
    assert lists[columns.RANK].tolist() == list(range(1, 21)) * len(users)


def test_a_tree_gives_nearly_the_same_lists(make_run: Callable[..., Any], tmp_path: Path) -> None:
    run = make_run(tmp_path, index={"kind": "tree", "recall": 0.99, "recall_at": 40})
    users, slots = own_users(run)
    assert overlap(top_n_lists(publish(run), users, 20), keras_lists(run, slots, 20)) >= 0.98


def test_parts_sum_to_the_score_and_ranks_follow_it(release: Any, untrained_run: Any) -> None:
    lists = top_n_lists(release, own_users(untrained_run)[0], 20)
    np.testing.assert_allclose(lists[PARTS].sum(axis=1), lists[columns.SCORE], atol=1e-4)
    assert (lists.groupby(columns.USER_ID)[columns.SCORE].diff().dropna() <= 1e-6).all()


def test_what_was_seen_is_left_out_even_beyond_the_history_that_the_tower_takes(
    release: Any, untrained_run: Any
) -> None:
    ids = list(untrained_run.prepared.items.known)
    lists = top_n_lists(release, a_user("new", ids[:40], ids[40:60]), 30)
    assert not set(lists[columns.ITEM_ID]) & set(ids[:60])
    assert len(lists) == 30


def test_users_who_have_seen_nearly_everything_get_what_is_left(release: Any, untrained_run: Any) -> None:
    ids = list(untrained_run.prepared.items.known)
    users = pd.concat(
        [a_user("nearly all", ids[:100], ids[90:-2]), a_user("all", [], ids), a_user("none", [], [])],
        ignore_index=True,
    )
    lists = top_n_lists(release, users, 20)
    assert set(lists[lists[columns.USER_ID] == "nearly all"][columns.ITEM_ID]) == set(ids[-2:])
    assert lists[columns.USER_ID].value_counts().to_dict() == {"nearly all": 2, "none": 20}


def test_a_list_longer_than_the_catalogue_is_the_catalogue(release: Any, untrained_run: Any) -> None:
    ids = untrained_run.prepared.items.known
    lists = top_n_lists(release, a_user("u", [], [ids[0]]), 1000)
    assert sorted(lists[columns.ITEM_ID]) == sorted(ids[1:])
    assert lists[columns.RANK].tolist() == list(range(1, len(ids)))


def test_unknown_users_unknown_items_and_empty_histories_are_served(release: Any, untrained_run: Any) -> None:
    known = untrained_run.prepared.users.known[0]
    users = pd.concat([a_user(known, [], []), a_user("new", [], []), a_user("newer", ["gone"], ["gone"])])
    lists = top_n_lists(release, users.reset_index(drop=True), 5)
    assert lists[columns.USER_ID].tolist() == [known] * 5 + ["new"] * 5 + ["newer"] * 5
    of = {user: group[columns.ITEM_ID].tolist() for user, group in lists.groupby(columns.USER_ID)}
    assert of["new"] == of["newer"] == of[known]  # The user id is but the query of an attention over the history.


def test_lists_do_not_depend_on_the_batch(release: Any, untrained_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = list(untrained_run.prepared.items.known)
    heavy = a_user("heavy", ids[:50], ids[30:80])
    users = pd.concat([own_users(untrained_run)[0].head(30), heavy], ignore_index=True)
    together = top_n_lists(release, users, 10)
    monkeypatch.setattr("m3csr_tf.batch.search.SEARCHED_AT_ONCE", 50)
    monkeypatch.setattr("m3csr_tf.batch.lists.SCORED_AT_ONCE", 7)
    apart = top_n_lists(release, users, 10)
    pd.testing.assert_frame_equal(together, apart, atol=1e-5)


def test_users_of_prepared_data_have_their_history_and_every_click_of_all_splits(untrained_run: Any) -> None:
    users, slots = own_users(untrained_run)
    prepared = untrained_run.prepared
    log = whole_log(prepared)
    row = int(log[columns.USER_ROW].value_counts().index[0])
    line = users.iloc[row - FIRST_ROW]
    assert line[columns.USER_ID] == prepared.users.ids(np.array([row]))[0]
    assert list(line[columns.HISTORY]) == list(prepared.items.ids(slots[row][slots[row] > 0]))
    clicked = log.loc[log[columns.USER_ROW] == row, columns.ITEM_ROW]
    assert sorted(line[columns.EXCLUSIONS]) == sorted(prepared.items.ids(clicked.to_numpy()))
    assert len(users) == len(prepared.users.known)


def test_explaining_a_pair_gives_the_parts_that_its_list_gives(release: Any, untrained_run: Any) -> None:
    users = own_users(untrained_run)[0].head(2)
    lists = top_n_lists(release, users, 3)
    explained = explain(release, users, lists[columns.ITEM_ID].tolist()[:3])
    first = [columns.SCORE, *PARTS]
    np.testing.assert_allclose(explained[first].head(3), lists[first].head(3), atol=1e-4)
    assert explained[columns.USER_ID].tolist() == users[columns.USER_ID].repeat(3).tolist()
