"""Filters and the cold quota: lists against sorting all scores, and one message for what leaves nothing."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from one_batch import top_n_lists

from m3csr_tf import columns
from m3csr_tf.batch import filters as batch_filters
from m3csr_tf.batch.filters import Filters, item_ids, select
from m3csr_tf.batch.listed import check_listed
from m3csr_tf.batch.retrieval import retrieve
from m3csr_tf.batch.search import Candidates, Seen, nearest
from m3csr_tf.batch.users import FileOfUsers
from m3csr_tf.config import IndexConfig, RetrieveConfig
from m3csr_tf.data.id_files import read_ids
from m3csr_tf.errors import InputError
from m3csr_tf.ids import NO_ITEM
from m3csr_tf.index import build_index

ITEMS = 120


def frame(users: list[tuple[list[str], list[str]]]) -> pd.DataFrame:
    """Users with histories and exclusions."""
    return pd.DataFrame(
        {
            columns.USER_ID: [f"n{row}" for row in range(len(users))],
            columns.HISTORY: [history for history, _ in users],
            columns.EXCLUSIONS: [exclusions for _, exclusions in users],
        },
        dtype=object,
    )


def by_sorting(release: Any, users: pd.DataFrame, n: int, filters: Filters) -> list[list[str]]:
    """The lists by the definition: all scores of a user sorted, then as many cold ones moved in as the quota asks."""
    ids = list(release.index.ids)
    cold = dict(zip(ids, release.items.is_cold(release.index.ids), strict=True))
    vectors = release.index.vectors(ids).astype(np.float64)
    # Not as a product of matrices, which gives equal items scores that differ in the last bit.
    scores = (release.user_vectors(users)[:, np.newaxis] * vectors).sum(axis=2)
    lists = []
    for line, (_, history, exclusions) in zip(scores, users.itertuples(index=False), strict=True):
        score = dict(zip(ids, line, strict=True))
        left = [
            item
            for item in sorted(ids, key=lambda item: -score[item])
            if item not in {*history, *exclusions}
            and item not in (filters.block or ())
            and (filters.allow is None or item in filters.allow)
            and (cold[item] or not filters.only_cold)
        ]
        best_cold = [item for item in left if cold[item]]
        least = min(len(best_cold), math.ceil(Fraction(str(filters.cold_quota)) * n))
        chosen = set(best_cold[:least])
        for item in left:
            if len(chosen) < n:
                chosen.add(item)
        lists.append(sorted(chosen, key=lambda item: -score[item]))
    return lists


def found(release: Any, users: pd.DataFrame, n: int, filters: Filters) -> list[list[str]]:
    lists = top_n_lists(release, users, n, select(release, filters, IndexConfig()))
    of = lists.groupby(columns.USER_ID)[columns.ITEM_ID].agg(list).to_dict()
    assert (lists.groupby(columns.USER_ID)[columns.SCORE].diff().dropna() <= 0).all()
    assert all(
        ranks.tolist() == list(range(1, len(ranks) + 1)) for _, ranks in lists.groupby(columns.USER_ID)[columns.RANK]
    )
    return [of.get(user, []) for user in users[columns.USER_ID]]


def alike(release: Any, lists: list[list[str]]) -> list[list[int]]:
    """The lists with equal vectors in place of items: which of two equal ones comes first is left open."""
    ids = release.index.ids
    _, same = np.unique(release.index.vectors(ids), axis=0, return_inverse=True)
    number = dict(zip(ids, same.ravel().tolist(), strict=True))
    return [[number[item] for item in of_user] for of_user in lists]


items = st.integers(0, ITEMS - 1)
some = st.lists(items, max_size=10)
many = st.lists(items, max_size=ITEMS, unique=True)


@given(
    past=st.lists(st.tuples(some, st.one_of(some, many)), min_size=1, max_size=4),
    n=st.integers(1, 30),
    block=st.one_of(st.none(), some, many),
    allow=st.one_of(st.none(), some, many),
    only_cold=st.booleans(),
    quota=st.sampled_from([0.0, 0.07, 0.3, 1.0]),
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lists_are_those_of_sorting_all_scores(
    release: Any,
    past: list[tuple[list[int], list[int]]],
    n: int,
    block: list[int] | None,
    allow: list[int] | None,
    only_cold: bool,
    quota: float,
) -> None:
    ids = release.index.ids
    users = frame([(list(ids[history]), list(ids[exclusions])) for history, exclusions in past])
    filters = Filters(
        None if block is None else frozenset(ids[block]),
        None if allow is None else frozenset(ids[allow]),
        only_cold,
        quota,
    )
    expected = by_sorting(release, users, n, filters)
    try:
        assert alike(release, found(release, users, n, filters)) == alike(release, expected)
    except InputError:
        nobody = frame([([], [])])
        assert by_sorting(release, nobody, n, filters) == [[]]


def test_the_quota_is_met_by_the_best_cold_items(release: Any) -> None:
    users = frame([([], []) for _ in range(3)])
    cold = set(release.index.ids[release.items.is_cold(release.index.ids)])
    for quota, least in ((0.25, 5), (0.26, 6), (0.5, 10)):
        for line in found(release, users, 20, Filters(cold_quota=quota)):
            assert len(cold & set(line)) >= least and len(line) == 20


def test_hidden_items_that_crowd_the_top_do_not_shorten_a_list() -> None:
    vectors = np.arange(1, 101, dtype=np.float32)[:, np.newaxis]
    index = build_index([f"i{row}" for row in range(100)], vectors, IndexConfig())
    hidden = np.arange(100) >= 55  # The 45 best of all.
    nobody = Seen(np.empty(0, np.int64), np.empty(0, np.int64), 100)
    rows, scores = nearest(Candidates(index, hidden=hidden), np.ones((2, 1), np.float32), nobody, 3)
    assert rows.tolist() == [[54, 53, 52]] * 2 and scores.tolist() == [[55, 54, 53]] * 2


def test_few_items_among_many_have_an_index_of_their_own(release: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []
    real = batch_filters.build_index
    monkeypatch.setattr(
        batch_filters, "build_index", lambda ids, *args, **more: built.append(len(ids)) or real(ids, *args, **more)
    )
    ids = release.index.ids
    select(release, Filters(block=frozenset(ids[:60])), IndexConfig())
    assert built == []
    select(release, Filters(allow=frozenset(ids[:7])), IndexConfig(kind="tree"))
    assert built == [7]


def test_what_one_user_has_seen_is_nothing_to_another() -> None:
    seen = Seen(np.array([0, 2, 2]), np.array([4, 0, 9]), 10)
    rows = np.array([[4, 0, NO_ITEM], [4, 9, 0], [4, 0, 9]])
    assert seen.holds(np.arange(3), rows).tolist() == [[True, False, False], [False] * 3, [False, True, True]]
    assert seen.of(np.array([1, 2])).holds(np.arange(2), rows[1:]).tolist() == [[False] * 3, [False, True, True]]
    assert seen.counts(3, None).tolist() == [1, 0, 2]
    assert seen.counts(3, np.array([9, 4])).tolist() == [1, 0, 1]


@pytest.mark.parametrize("kind", ["txt", "csv", "parquet"])
def test_every_kind_of_file_of_item_ids_means_the_same(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"items.{kind}"
    table = pd.DataFrame({"why": ["a", "b", "c"], columns.ITEM_ID: ["07", "v1", "v1"]})
    if kind == "txt":
        path.write_text("07\n\n v1 \nv1\n")
    elif kind == "csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    assert item_ids(path, "block") == {"07", "v1"}


def test_items_of_a_csv_may_be_called_null_words(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id\nNA\nnull\nv1\n")
    assert item_ids(tmp_path / "items.csv", "block") == {"NA", "null", "v1"}


def test_whole_numbers_are_item_ids(tmp_path: Path) -> None:
    pd.DataFrame({columns.ITEM_ID: [5, 12]}).to_parquet(tmp_path / "items.parquet")
    assert item_ids(tmp_path / "items.parquet", "allow") == {"5", "12"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("items.txt", "", r"holds no item id; .*; check retrieve\.allow"),
        ("items.csv", "item_id\n", r"holds no item id; .*; check retrieve\.allow"),
        ("items.csv", "item\nv1\n", r"column item_id is missing; found item; check retrieve\.allow"),
        ("items.csv", "item_id,b\nv1\n", r"cannot be read .*; check retrieve\.allow"),
        ("items.csv", "item_id,b\n,b\n", r"item_id in data row 1 is nothing; .*; check retrieve\.allow"),
        ("items.parquet", "item_id\n", r"cannot be read .*; check retrieve\.allow"),
        ("items.xml", "[]", r"unknown kind of file; .*; check retrieve\.allow"),
        ("items.txt", None, r"no such file; .*; check retrieve\.allow"),
    ],
)
def test_a_broken_file_of_item_ids_is_one_message(name: str, text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        item_ids(tmp_path / name, "allow")


def test_a_parquet_file_without_item_ids_is_one_message(tmp_path: Path) -> None:
    pd.DataFrame({"item": ["a"]}).to_parquet(tmp_path / "items.parquet")
    with pytest.raises(InputError, match=r"column item_id is missing; found item; check retrieve\.block"):
        item_ids(tmp_path / "items.parquet", "block")


def test_ids_that_the_release_lacks_are_counted_and_change_nothing(
    release: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ids = release.index.ids
    users = frame([([], [])])
    with_strangers = found(release, users, 5, Filters(allow=frozenset([*ids[:20], "gone", "never"])))
    assert "retrieve.allow: of its 22 items, the release lacks 2" in caplog.text
    assert with_strangers == found(release, users, 5, Filters(allow=frozenset(ids[:20])))


@pytest.fixture
def users(tmp_path: Path) -> Path:
    frame([([], []) for _ in range(4)]).to_parquet(tmp_path / "users.parquet")
    return tmp_path / "users.parquet"


def test_filters_that_leave_nothing_are_one_message_and_leave_nothing(
    release: Any, users: Path, tmp_path: Path
) -> None:
    one = release.index.ids[0]
    for name in ("allow.txt", "block.txt"):
        (tmp_path / name).write_text(f"{one}\n")
    config = RetrieveConfig(allow=tmp_path / "allow.txt", block=tmp_path / "block.txt")
    with pytest.raises(
        InputError, match=r"retrieve\.block and retrieve\.allow: none of the \d+ items is left.*nothing to retrieve"
    ):
        retrieve(release, FileOfUsers(users), tmp_path / "lists", config)
    assert not list(tmp_path.glob("*lists")) and not list(tmp_path.glob(".lists-*"))


def test_a_job_obeys_its_filters_and_starts_anew_with_others(release: Any, users: Path, tmp_path: Path) -> None:
    ids = release.index.ids
    path, output = tmp_path / "allow.txt", tmp_path / "lists"
    path.write_text("\n".join(ids[:6]))
    config = RetrieveConfig(allow=path, top_n=10)
    done = retrieve(release, FileOfUsers(users), output, config)
    assert done.short == 4 and set(pd.read_parquet(output)[columns.ITEM_ID]) == set(ids[:6])
    path.write_text("\n".join(ids[6:30]))
    done = retrieve(release, FileOfUsers(users), output, config)
    assert done.made == 1 and not set(pd.read_parquet(output)[columns.ITEM_ID]) - set(ids[6:30])


@pytest.mark.parametrize("name", ["block", "allow"])
@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["{0}", "{1},{2}"], "line 2 holds '{1},{2}', which is no item of the release"),
        (["{0}", "", "{1} {2}"], "line 3 holds '{1} {2}'"),
        (["{0};{1}"], "line 1 holds"),
        (['"{0}"', "{1}"], "line 1 holds"),
        (["['{0}']"], "line 1 holds"),
        (["gone", "never"], "none of the 2 ids of retrieve.{name} is known to the release, e.g. 'gone'"),
        (["{upper}"], "'{upper}' differs from '{0}', which it knows, in case or spaces alone"),
    ],
)
def test_a_list_of_which_no_id_is_meant_as_written_is_refused(
    name: str, lines: list[str], says: str, release: Any, users: Path, tmp_path: Path
) -> None:
    ids = release.index.ids[:3]
    words = {"upper": ids[0].swapcase(), "name": name}
    path = tmp_path / "ids.txt"
    path.write_text("\n".join(line.format(*ids, **words) for line in lines))
    with pytest.raises(InputError) as refused:
        retrieve(release, FileOfUsers(users), tmp_path / "lists", RetrieveConfig.model_validate({name: path}))
    assert f"{path}: " in str(refused.value) and says.format(*ids, **words) in str(refused.value)
    assert not list(tmp_path.glob("*lists")) and not list(tmp_path.glob(".lists-*"))


def test_a_row_of_a_table_of_ids_is_named(release: Any, tmp_path: Path) -> None:
    one, two = release.index.ids[:2]
    pd.DataFrame({"item_id": [one, f"{one}|{two}"]}).to_csv(tmp_path / "ids.csv", index=False)
    with pytest.raises(InputError, match="data row 2 holds"):
        check_listed(tmp_path / "ids.csv", read_ids(tmp_path / "ids.csv"), release, "--remove")


def test_of_mostly_unknown_ids_one_that_is_nearly_known_is_said(
    release: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known, other = release.index.ids[:2]
    ids = [known, "gone", other.swapcase()]
    check_listed(tmp_path / "ids.txt", ids, release, "retrieve.block")
    assert "most ids are unknown to the release (2 of 3)" in caplog.text
    assert f"{other.swapcase()!r} differs from {other!r}" in caplog.text


def test_removals_of_what_is_gone_may_be_repeated(release: Any, tmp_path: Path) -> None:
    check_listed(tmp_path / "ids.txt", ["gone"], release, "--remove", needs_one=False)
    with pytest.raises(InputError, match="none of the 1 ids of --remove is known"):
        check_listed(tmp_path / "ids.txt", [release.index.ids[0].swapcase()], release, "--remove", needs_one=False)
