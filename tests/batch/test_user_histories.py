"""What the system knows of its users is in their lists' favour: no known click is listed, and the latest ones count."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from m3csr_tf import columns
from m3csr_tf.batch import known, retrieval
from m3csr_tf.batch.summary import distinct_lists
from m3csr_tf.batch.user_histories import UserHistories
from m3csr_tf.batch.users import FileOfUsers, PreparedUsers
from m3csr_tf.config import with_settings
from m3csr_tf.data.audience import Audience
from m3csr_tf.errors import RunError
from m3csr_tf.releases.release import open_release
from m3csr_tf.verbs import origin, retrieve

PLANTED = {"users": 200, "items": 120, "clicks": 2500, "modalities": {"visual": 6}}


@pytest.fixture(scope="module")
def planted(make_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run on a log of 200 users that is split by time, and published."""
    from m3csr_tf.releases.publish import publish

    run = make_run(
        tmp_path_factory.mktemp("planted"),
        data={"world": PLANTED},
        split={"kind": "time", "cold_share": 0.05},
        retrieve={"batch_size": 30, "shard_users": 70, "top_n": 10},
    )
    publish(run)
    return run


@pytest.fixture
def lists(planted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., pd.DataFrame]]:
    """`lists(**settings)` runs retrieve in this process, for a file of users or for the run's own."""
    monkeypatch.setattr(origin, "load_released", lambda _: planted)

    def made(frame: pd.DataFrame | None = None, kind: str = "csv", **settings: Any) -> pd.DataFrame:
        if frame is not None:
            path = tmp_path / f"users.{kind}"
            {"csv": frame.to_csv, "parquet": frame.to_parquet}[kind](path, index=False)
            settings["users"] = path
        changed = {f"retrieve.{name}": value for name, value in {"output": tmp_path / "lists", **settings}.items()}
        return pd.read_parquet(retrieve.retrieve(with_settings(planted.config, changed)))

    yield made


def log_of(run: Any) -> pd.DataFrame:
    """The whole log by ids, in order of time."""
    log = pd.concat([run.prepared.split(split) for split in columns.SPLITS]).sort_values(columns.TIMESTAMP)
    users, items = (log[name].to_numpy() for name in (columns.USER_ROW, columns.ITEM_ROW))
    return pd.DataFrame(
        {columns.USER_ID: run.prepared.users.ids(users), columns.ITEM_ID: run.prepared.items.ids(items)}
    )


def known_clicks(found: pd.DataFrame, run: Any) -> int:
    return len(found.merge(log_of(run), on=[columns.USER_ID, columns.ITEM_ID]))


def ids_of(run: Any) -> pd.DataFrame:
    return pd.DataFrame({columns.USER_ID: run.prepared.users.known})


def test_no_row_of_the_lists_is_a_known_click_of_any_split(lists: Callable[..., pd.DataFrame], planted: Any) -> None:
    found = lists()
    assert len(found) == 2000 and found[columns.USER_ID].nunique() == 200
    assert known_clicks(found, planted) == 0


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_users_file_without_histories_gives_the_lists_of_the_runs_own_users(
    kind: str, lists: Callable[..., pd.DataFrame], planted: Any
) -> None:
    own = lists()
    pd.testing.assert_frame_equal(lists(ids_of(planted), kind), own)


def test_the_users_on_whom_an_index_is_measured_are_those_of_the_lists(planted: Any) -> None:
    sample = open_release(planted.config.release_folder).sample().users
    audience = Audience(planted.prepared, planted.config, columns.SPLITS)
    own = PreparedUsers(planted.prepared, audience).frame(0, 200).set_index(columns.USER_ID)[columns.HISTORY]
    assert len(sample) == 200
    assert {user: [*past] for user, past in sample.itertuples(index=False)} == {
        user: [*own[user]] for user in own.index
    }


def test_bonuses_and_metrics_do_not_know_the_clicks_that_judge_them(planted: Any, tmp_path: Path) -> None:
    from m3csr_tf.sampling.training_data import item_features
    from m3csr_tf.training.vectors import VectorEncoder
    from m3csr_tf.verbs.load_run import bonuses, vectors_of

    folder = Path(shutil.copytree(planted.prepared.folder, tmp_path / "prepared"))
    judged = planted.prepared.split(columns.TEST)
    judged.assign(item_row=judged["item_row"].to_numpy()[::-1]).to_parquet(folder / "test.parquet", index=False)
    other = dataclasses.replace(planted, prepared=dataclasses.replace(planted.prepared, folder=folder))
    rows = np.arange(2, 202)
    found = []
    for run in (planted, other):
        vectors = vectors_of(run, VectorEncoder(run.model, item_features(run.prepared)))
        found.append((vectors.user_vectors[rows], bonuses(run, vectors)))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    # Of the lists that are served, those clicks are part.
    past = [
        UserHistories(run.prepared, Audience(run.prepared, run.config, columns.SPLITS)).of_rows(rows)
        for run in (planted, other)
    ]
    assert (past[0].clicks != past[1].clicks).nnz


def test_users_in_another_order_get_the_same_lists(lists: Callable[..., pd.DataFrame], planted: Any) -> None:
    own = lists().groupby(columns.USER_ID)[columns.ITEM_ID].agg(list)
    some = ids_of(planted).sample(50, random_state=0)
    found = lists(some).groupby(columns.USER_ID, sort=False)[columns.ITEM_ID].agg(list)
    assert found.index.tolist() == some[columns.USER_ID].tolist()
    assert found.to_dict() == own[found.index].to_dict()


def test_a_log_on_the_disk_tells_a_file_of_users_the_same(planted: Any, tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    ids_of(planted).sample(60, random_state=1).to_csv(path, index=False)
    frames = []
    for window in (1, 10**6):
        config = with_settings(planted.config, {"training.window_clicks": window})
        users = FileOfUsers(path).with_past(
            UserHistories(planted.prepared, Audience(planted.prepared, config, columns.SPLITS))
        )
        frame = pd.concat([batch for _, batch in users.read([0, 1], 40, 16)])
        frames.append(frame.map(lambda cell: cell if isinstance(cell, str) else list(cell)))
    pd.testing.assert_frame_equal(*frames)
    assert frames[0].index.tolist() == list(range(1, 61))


def test_what_a_file_excludes_is_left_out_besides_the_clicks(lists: Callable[..., pd.DataFrame], planted: Any) -> None:
    own = lists()
    best = own[own[columns.RANK] == 1].set_index(columns.USER_ID)[columns.ITEM_ID]
    users = ids_of(planted)
    users[columns.EXCLUSIONS] = best[users[columns.USER_ID]].to_numpy()
    found = lists(users)
    assert known_clicks(found, planted) == 0
    assert not found.merge(best.reset_index(), on=[columns.USER_ID, columns.ITEM_ID]).size


def test_with_the_column_histories_are_the_files_and_an_empty_cell_is_an_empty_one(
    lists: Callable[..., pd.DataFrame], planted: Any
) -> None:
    users = ids_of(planted).head(4).assign(history=["", "", "", ""])
    found = lists(users).groupby(columns.USER_ID)[columns.ITEM_ID].agg(tuple)
    assert found.nunique() == 1


def test_users_for_other_processes_carry_their_past(planted: Any, tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    ids_of(planted).to_csv(path, index=False)
    audience = Audience(planted.prepared, planted.config, columns.SPLITS)
    users = FileOfUsers(path).with_past(UserHistories(planted.prepared, audience))
    shared, own = users.shared(tmp_path / "shared.parquet"), PreparedUsers(planted.prepared, audience)
    for other in (shared, own):
        for (part, one), (of, two) in zip(users.read([0, 2], 70, 30), other.read([0, 2], 70, 30), strict=True):
            assert part == of and [*one[columns.USER_ID]] == [*two[columns.USER_ID]]
            for name in (columns.HISTORY, columns.EXCLUSIONS):
                assert [[*cell] for cell in one[name]] == [[*cell] for cell in two[name]]
    with pytest.raises(TypeError, match="a past cannot be sent"):
        users.__reduce__()


def test_another_log_makes_the_lists_again(planted: Any, tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    ids_of(planted).to_csv(path, index=False)
    pasts = [
        UserHistories(planted.prepared, Audience(planted.prepared, planted.config, some))
        for some in (["train"], ["val"])
    ]
    users = FileOfUsers(path)
    assert len({users.digest(), *(users.with_past(past).digest() for past in pasts)}) == 3


def test_a_file_named_by_a_relative_path_keeps_its_name(
    planted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids_of(planted).to_csv(tmp_path / "users.csv", index=False)
    monkeypatch.chdir(tmp_path)
    past = UserHistories(planted.prepared, Audience(planted.prepared, planted.config, columns.SPLITS))
    users = FileOfUsers(Path("users.csv")).with_past(past)
    assert users.path == Path("users.csv") and users.count() == 200
    assert users.digest() == FileOfUsers(tmp_path / "users.csv").with_past(past).digest()


def test_without_the_run_a_file_must_bring_histories(
    planted: Any, lists: Callable[..., pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: Any) -> Any:
        raise RunError("runs/small: no run")

    monkeypatch.setattr(origin, "load_released", gone)
    with pytest.raises(RunError, match=r"no run; or give .*users\.csv a column history; without one, .* from the run"):
        lists(ids_of(planted))
    assert len(lists(ids_of(planted).assign(history=""))) == 2000


def test_the_summary_counts_empty_histories_unknown_ids_and_distinct_lists(
    lists: Callable[..., pd.DataFrame], planted: Any, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = planted.prepared.items.known[:2]
    users = ids_of(planted).head(5).assign(history=[f"{one} {two}", two, f"{one} gone", one, ""])
    users.loc[3, columns.USER_ID] = "a stranger"
    with caplog.at_level(logging.WARNING):
        lists(users)
    said = " ".join(capsys.readouterr().out.split())
    assert "distinct lists; 1 users have no history" in said
    assert "1 of 6 ids of histories and exclusions and 1 users are unknown" in said
    assert not [record for record in caplog.records if record.name == retrieve.__name__]


def test_lists_that_are_all_the_same_are_a_warning(
    lists: Callable[..., pd.DataFrame], planted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    lists(ids_of(planted).head(30).assign(history=""))
    assert any("most users have no history (30 of 30)" in said for said in caplog.messages)
    assert any("all lists are the same, for 30 users" in said for said in caplog.messages)


@pytest.mark.parametrize("changed", [str.upper, lambda one: f"{one} ", lambda one: f"x{one}"])
def test_ids_that_are_mostly_unknown_are_a_warning_that_names_the_near_miss(
    changed: Callable[[str], str], lists: Callable[..., pd.DataFrame], planted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    items, users = planted.prepared.items.known, planted.prepared.users.known[:6]
    frame = pd.DataFrame(
        {
            columns.USER_ID: [changed(one) for one in users],
            columns.HISTORY: [[changed(items[place]), changed(items[place + 1])] for place in range(6)],
        }
    )
    found = lists(frame, "parquet")
    assert len(found) == 60
    for what, first in (("item ids of the users", items[0]), ("users", users[0])):
        [said] = [one for one in caplog.messages if f"most {what} are unknown" in one]
        near = f"{changed(first)!r} differs from {first!r}, which it knows, in case"
        assert near in said if changed(first).strip().lower() == first else f"e.g. {changed(first)!r}" in said


def test_users_in_the_wrong_case_without_histories_are_a_warning(
    lists: Callable[..., pd.DataFrame], planted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    lists(pd.DataFrame({columns.USER_ID: [one.upper() for one in planted.prepared.users.known]}))
    assert any("most users are unknown" in said and "'U" in said for said in caplog.messages)


def test_distinct_lists_are_those_of_other_items_or_another_order(tmp_path: Path) -> None:
    rows = [("a", "xyz"), ("b", "xzy"), ("c", "xy"), ("d", "xyz"), ("e", "zyx"), ("f", "xz")]
    for part, some in enumerate((rows[:4], rows[4:])):
        frame = pd.DataFrame([(user, rank, item) for user, of in some for rank, item in enumerate(of, 1)])
        frame = frame.set_axis([columns.USER_ID, columns.RANK, columns.ITEM_ID], axis=1).astype(
            {columns.RANK: np.int32}
        )
        frame.to_parquet(tmp_path / f"part-{part:05d}-x.parquet", row_group_size=50)
    assert distinct_lists(tmp_path) == 5
    assert distinct_lists(tmp_path / "nothing") == 0


def test_a_length_beyond_the_catalogue_takes_no_more_memory_than_the_catalogue(
    lists: Callable[..., pd.DataFrame], planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = []
    real = known.KnownIds.facts
    monkeypatch.setattr(
        known.KnownIds, "facts", lambda self, users, *of: widths.append(len(users)) or real(self, users, *of)
    )
    monkeypatch.setattr(retrieval, "LISTED_AT_ONCE", 1300)
    found = lists(top_n=10**5)
    unseen = 120 * 200 - len(log_of(planted))
    assert len(found) == unseen and set(widths) <= {10, 20, 11, 9}
