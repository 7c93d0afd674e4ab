"""Filters by age and views: at the time of the job, from live publish times and view counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from m3csr_tf import columns
from m3csr_tf.batch import ages
from m3csr_tf.batch.ages import AgeRules
from m3csr_tf.batch.filters import Filters, select
from m3csr_tf.batch.retrieval import retrieve
from m3csr_tf.batch.similar import similar
from m3csr_tf.batch.users import FileOfUsers
from m3csr_tf.config import ColdConfig, IndexConfig, RetrieveConfig, SimilarConfig
from m3csr_tf.data.updates import read_updates
from m3csr_tf.errors import InputError
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.releases.items import ItemStore
from m3csr_tf.releases.refresh import refresh
from m3csr_tf.releases.release import open_release

HOUR, DAY = 3600, 86_400
NOW = 1_700_000_000.0 + 15 * DAY
"""The middle of the world's month: some of its videos are older than a month, and some are yet to be published."""
RULE = ColdConfig(max_age_hours=96, max_views=15)


@pytest.fixture
def users(tmp_path: Path) -> FileOfUsers:
    frame = {columns.USER_ID: [f"n{row}" for row in range(8)], columns.HISTORY: [[]] * 8}
    pd.DataFrame(frame, dtype=object).to_parquet(tmp_path / "users.parquet")
    return FileOfUsers(tmp_path / "users.parquet")


def facts(run: Any) -> pd.DataFrame:
    """Age in seconds at NOW, not below 0, and training clicks of each item of the world, by its id."""
    prepared = run.prepared
    published = prepared.catalogue[columns.PUBLISH_TIME].to_numpy(float)
    found = {"age": np.maximum(NOW - published, 0), "views": prepared.train_clicks[FIRST_ROW:]}
    return pd.DataFrame(found, index=prepared.items.known)


def listed(output: Path) -> set[str]:
    return set(pd.read_parquet(output)[columns.ITEM_ID])


def test_only_cold_lists_new_items_with_few_views_and_nothing_else(
    release: Any, untrained_run: Any, users: FileOfUsers, tmp_path: Path
) -> None:
    world = facts(untrained_run)
    cold = set(world.index[(world["age"] <= 96 * HOUR) & (world["views"] < 15)])
    assert 5 < len(cold) < 110 and cold != set(world.index[world["views"] == 0])
    config = RetrieveConfig(only="cold", now=NOW, top_n=120)
    retrieve(release, users, tmp_path / "lists", config, cold=RULE)
    assert listed(tmp_path / "lists") == cold
    of_items = SimilarConfig(only="cold", now=NOW, top_n=120)
    similar(release, None, tmp_path / "similar", of_items, cold=RULE)
    assert set(pd.read_parquet(tmp_path / "similar")[columns.SIMILAR_ITEM_ID]) == cold


def test_the_quota_counts_items_that_are_cold_by_age_and_views(
    release: Any, untrained_run: Any, users: FileOfUsers, tmp_path: Path
) -> None:
    world = facts(untrained_run)
    cold = world.index[(world["age"] <= 96 * HOUR) & (world["views"] < 15)]
    config = RetrieveConfig(cold_quota=0.5, now=NOW, top_n=8)
    retrieve(release, users, tmp_path / "lists", config, cold=RULE)
    lists = pd.read_parquet(tmp_path / "lists")
    assert (lists[columns.ITEM_ID].isin(cold).groupby(lists[columns.USER_ID]).sum() >= 4).all()


def test_what_is_too_old_for_the_feed_is_in_no_list(
    release: Any, untrained_run: Any, users: FileOfUsers, tmp_path: Path
) -> None:
    world = facts(untrained_run)
    config = RetrieveConfig(max_age_days=10, now=NOW, top_n=120)
    retrieve(release, users, tmp_path / "lists", config)
    assert listed(tmp_path / "lists") == set(world.index[world["age"] <= 10 * DAY]) != set(world.index)


def cold_now(release: Any, *ids: str, rule: ColdConfig = RULE, now: float = NOW) -> list[bool]:
    return release.items.is_cold(np.array(ids, dtype=object), rule, now).tolist()


def test_refresh_moves_publish_times_and_views_and_the_journal_and_the_store_keep_them(
    live: Any, tmp_path: Path
) -> None:
    reader = open_release(live.folder)
    known = str(live.items.ids[np.argmin(live.items.publish_times(live.items.ids))])
    assert cold_now(live, known) == [False] and reader.position == 0
    content = {name: np.ones((1, width), np.float32) for name, width in live.modalities.items()}
    new = {columns.ITEM_ID: ["fresh"], columns.VIEW_COUNT: [0], columns.PUBLISH_TIME: [NOW - HOUR]}
    refresh(live, pd.DataFrame(new), content)
    refresh(live, pd.DataFrame({columns.ITEM_ID: [known], columns.VIEW_COUNT: [3], columns.PUBLISH_TIME: [NOW]}))
    assert reader.catch_up() == 2
    for one in (live, reader, open_release(live.folder)):
        assert cold_now(one, "fresh", known) == [True, True]
        assert cold_now(one, "fresh", known, now=NOW + 96 * HOUR) == [False, True]
    # An empty time leaves the known one, and views end it.
    views = {columns.ITEM_ID: ["fresh", known], columns.VIEW_COUNT: [14, 15], columns.PUBLISH_TIME: [np.nan, np.nan]}
    refresh(live, pd.DataFrame(views))
    assert cold_now(live, "fresh", known) == [True, False]
    live.items.save(tmp_path / "items")
    again = ItemStore.load(tmp_path / "items", live.modalities, np.asarray(live.manifest["popularity_edges"]))
    ids = live.items.ids
    np.testing.assert_array_equal(again.publish_times(ids), live.items.publish_times(ids))
    for rule in (RULE, ColdConfig(), ColdConfig(max_views=2)):
        np.testing.assert_array_equal(again.is_cold(ids, rule, NOW), live.items.is_cold(ids, rule, NOW))


def test_a_file_for_refresh_has_publish_times_in_any_form_or_one_message(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("item_id,publish_time\na,2023-11-14T22:13:20Z\nb,\n")
    frame = read_updates(path, {}, {}).frame
    assert columns.VIEW_COUNT not in frame
    np.testing.assert_array_equal(frame[columns.PUBLISH_TIME], [1_700_000_000, np.nan])
    path.write_text("item_id,publish_time\na,soon\n")
    with pytest.raises(InputError, match=r"new\.csv: publish_time in data row 1 is 'soon'"):
        read_updates(path, {}, {})


def test_unknown_ages_and_times_to_come_are_counted_and_mean_what_the_page_says(
    live: Any, users: FileOfUsers, tmp_path: Path
) -> None:
    content = {name: np.ones((2, width), np.float32) for name, width in live.modalities.items()}
    times = {columns.ITEM_ID: ["unknown", "skewed"], columns.PUBLISH_TIME: [np.nan, NOW + 1000 * DAY]}
    refresh(live, pd.DataFrame(times), content)
    assert cold_now(live, "unknown", "skewed") == [False, True]
    config = RetrieveConfig(max_age_days=0.001, cold_quota=0.1, now=NOW, top_n=200)
    retrieve(live, users, tmp_path / "lists", config, cold=RULE)
    assert {"unknown", "skewed"} <= listed(tmp_path / "lists")
    later = int((live.items.publish_times(live.items.ids) > NOW).sum())
    said = AgeRules.of(config, RULE).doubts(live)
    assert said[0].startswith(
        "1 of 122 items have no publish_time; they are not cold by age and stay in lists whatever"
    )
    assert said[1].startswith(
        f"{later} of 122 items have a publish_time after retrieve.now, the latest by 86,400,000 s"
    )
    assert AgeRules.of(RetrieveConfig(now=NOW), RULE).doubts(live) == [
        "retrieve.now has no effect, since nothing asks for an age"
    ]


def test_lists_by_the_clock_are_made_anew_and_a_stopped_job_goes_on_at_its_own_time(
    release: Any, users: FileOfUsers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(clock: float, **others: Any) -> Any:
        monkeypatch.setattr(ages.time, "time", lambda: clock)
        config = RetrieveConfig(**{"max_age_days": 10, "shard_users": 4, "top_n": 120} | others)
        return retrieve(release, users, tmp_path / "lists", config)

    assert at(NOW).made == 2 and at(NOW).made == 0
    before = listed(tmp_path / "lists")
    assert at(NOW + 5 * DAY, shard="1/2").missing == 1  # Stopped in the middle.
    ended = at(NOW + 9 * DAY, shard="2/2")
    assert (ended.made, ended.missing, ended.now) == (1, 0, NOW + 5 * DAY)
    assert listed(tmp_path / "lists") != before
    # A time that is given is a setting like any other, and without ages the clock does not matter.
    assert [at(NOW + hour, now=NOW).made for hour in range(2)] == [2, 0]
    assert [at(NOW + hour, max_age_days=None).made for hour in range(2)] == [2, 0]


def without_times(release: Any) -> Any:
    """The release as if its catalogue had had no publish times."""
    release.items._published[:] = np.nan
    return release


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (RetrieveConfig(only="cold"), r"cold\.max_age_hours=96: none of the 120 items of version 1 has a publish_time"),
        (RetrieveConfig(cold_quota=0.2), r"cold\.max_age_hours=96: none of the 120 items"),
        (RetrieveConfig(max_age_days=3), r"retrieve\.max_age_days=3: none of the 120 items .*; give the column in"),
    ],
)
def test_ages_without_any_publish_time_are_one_message_and_leave_nothing(
    config: RetrieveConfig, message: str, live: Any, users: FileOfUsers, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        retrieve(without_times(live), users, tmp_path / "lists", config, cold=RULE)
    assert not list(tmp_path.glob("*lists")) and not list(tmp_path.glob(".lists-*"))


def test_views_alone_need_no_publish_time(live: Any, users: FileOfUsers, tmp_path: Path) -> None:
    retrieve(without_times(live), users, tmp_path / "lists", RetrieveConfig(only="cold"), cold=ColdConfig(max_views=2))
    assert listed(tmp_path / "lists")


def test_filters_of_age_that_leave_nothing_are_one_message(release: Any, users: FileOfUsers, tmp_path: Path) -> None:
    late = {"now": NOW + 1000 * DAY}
    for config, named in (
        (RetrieveConfig(max_age_days=1, **late), r"retrieve\.max_age_days=1: none"),
        (RetrieveConfig(only="cold", **late), r"retrieve\.only=cold: none of the 120 items is left"),
    ):
        with pytest.raises(InputError, match=named):
            retrieve(release, users, tmp_path / "lists", config, cold=RULE)


def test_a_quota_of_cold_items_where_none_is_cold_is_said(release: Any, caplog: pytest.LogCaptureFixture) -> None:
    rules = AgeRules(RULE, now=NOW + 1000 * DAY, asks_for_cold=True)
    selection = select(release, Filters(cold_quota=0.2, ages=rules), IndexConfig())
    assert selection.cold is None
    assert "retrieve.cold_quota=0.2 has no effect: none of the 120 items that may be listed is cold" in caplog.text
