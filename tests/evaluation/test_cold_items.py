"""Slices by age and views: taken when the judged split begins, from nothing that came later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m3csr_tf import columns
from m3csr_tf.config import ColdConfig, Config, EvaluationConfig
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError
from m3csr_tf.evaluation.cold_items import items_then
from m3csr_tf.evaluation.report import Evaluation, evaluate_split
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.prepare import prepare

DAY = 86_400
RULE = ColdConfig(max_age_hours=72, max_views=8)


def prepared_by(folder: Path, **split: Any) -> Prepared:
    world = {"users": 60, "items": 80, "clicks": 900, "modalities": {"visual": 4}}
    tree = {"run": {"folder": folder}, "data": {"world": world}, "split": split, "clusters": {"count": 3}}
    return prepare(Config.model_validate(tree))


@pytest.fixture(scope="module")
def by_time(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared_by(tmp_path_factory.mktemp("by_time"), kind="time")


def counts(prepared: Prepared, *splits: str) -> np.ndarray:
    rows = np.concatenate([prepared.split(name)[columns.ITEM_ROW].to_numpy() for name in splits])
    return np.bincount(rows, minlength=len(prepared.items))


@pytest.mark.parametrize(("split", "before"), [("val", ["train"]), ("test", ["train", "val"])])
def test_ages_and_views_are_those_when_the_judged_split_begins(
    by_time: Prepared, split: str, before: list[str]
) -> None:
    then = items_then(by_time, split, RULE)
    assert then is not None
    begins = by_time.split(split)[columns.TIMESTAMP].min()
    published = np.concatenate([np.full(FIRST_ROW, np.nan), by_time.catalogue[columns.PUBLISH_TIME]])
    age, known = begins - published, np.arange(len(published)) >= FIRST_ROW
    assert then.time == begins
    np.testing.assert_array_equal(then.cold, known & (age <= 3 * DAY) & (counts(by_time, *before) < 8))
    assert then.cold.sum() > 3 and (by_time.train_clicks[then.cold] > 0).any()
    expected = [age < DAY, (age >= DAY) & (age < 7 * DAY), age >= 7 * DAY, np.zeros(len(age), bool)]
    for items, mask in zip(then.ages.values(), expected, strict=True):
        np.testing.assert_array_equal(items, known & mask)
    assert then.later == (age < 0).sum()
    assert split == "test" or then.later > 0  # The world's videos stop before the last tenth of its log.
    assert then.to_json()["age_unknown"] == 0 and then.to_json()["items"] == then.cold.sum()


def test_views_of_the_catalogue_are_younger_than_the_split_and_not_looked_at(by_time: Prepared) -> None:
    viewed = replace(by_time, catalogue=by_time.catalogue.assign(**{columns.VIEW_COUNT: 10**6}))
    first, second = (items_then(one, "test", RULE) for one in (by_time, viewed))
    assert first is not None and second is not None
    np.testing.assert_array_equal(first.cold, second.cold)
    trusted = replace(viewed, popularity=replace(viewed.popularity, source="view_count"))
    third = items_then(trusted, "test", RULE)
    assert third is not None and not third.cold.any()


def test_items_that_the_split_moved_do_not_move_the_time(tmp_path: Path, by_time: Prepared) -> None:
    moved = prepared_by(tmp_path, kind="time", cold_share=0.3)
    assert moved.split("test")[columns.TIMESTAMP].min() < moved.split("train")[columns.TIMESTAMP].max()
    for split in ("val", "test"):
        then, whole = items_then(moved, split, RULE), items_then(by_time, split, RULE)
        assert then is not None and whole is not None and whole.time is not None and then.time is not None
        assert 0 <= then.time - whole.time < DAY  # The first click there on an item that was not moved.


def test_splits_that_overlap_in_time_stand_for_the_end_of_training(tmp_path: Path) -> None:
    prepared = prepared_by(tmp_path, kind="random")
    then = items_then(prepared, "test", RULE)
    assert then is not None and then.time == prepared.split("train")[columns.TIMESTAMP].max()
    young = prepared.publish_times >= then.time - 3 * DAY
    np.testing.assert_array_equal(then.cold, young & (prepared.train_clicks < 8))


def judged(prepared: Prepared, cold: ColdConfig | None) -> Evaluation:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(count, 4)).astype(np.float32) for count in (len(prepared.users), len(prepared.items)))
    return evaluate_split(prepared, *vectors, "test", EvaluationConfig(bootstrap=0), cold=cold)


def test_slices_divide_the_clicks_by_coldness_and_age(by_time: Prepared) -> None:
    then = items_then(by_time, "test", RULE)
    assert then is not None
    evaluation, clicks = judged(by_time, RULE), by_time.split("test")

    def users_on(items: np.ndarray) -> list[int]:
        return sorted(clicks[columns.USER_ROW][items[clicks[columns.ITEM_ROW]]].unique())

    known = np.arange(len(then.cold)) >= FIRST_ROW
    assert evaluation["cold"].users.tolist() == evaluation["cold_only"].users.tolist() == users_on(then.cold)
    assert evaluation["warm"].users.tolist() == users_on(known & ~then.cold)
    for name, items in then.ages.items():
        assert evaluation[name].users.tolist() == users_on(items)
    assert len(evaluation["age_under_day"].users) > 0
    listed = evaluation.by_item.listed if evaluation.by_item is not None else np.zeros(0)
    assert evaluation["all"].shares["cold_share@20"] == pytest.approx(listed[then.cold].sum() / listed.sum())


def test_without_the_settings_slices_and_figures_are_as_ever(by_time: Prepared) -> None:
    assert items_then(by_time, "test", ColdConfig()) is None
    unset, never = judged(by_time, ColdConfig()).to_json(), judged(by_time, None).to_json()
    assert unset == never
    assert list(unset) == ["all", "warm", "cold", "few", "tail", "cold_only"]


def test_ages_of_a_log_without_times_or_a_catalogue_without_publish_times_are_one_message(by_time: Prepared) -> None:
    unpublished = replace(by_time, catalogue=by_time.catalogue.drop(columns=columns.PUBLISH_TIME))
    with pytest.raises(InputError, match=r"no item has a publish_time .* cold\.max_age_hours=72; give it and prepare"):
        items_then(unpublished, "test", RULE)
    timeless = replace(by_time)
    timeless.__dict__["periods"] = {}
    with pytest.raises(InputError, match=r"the log has no timestamps .* cold\.max_age_hours=72"):
        items_then(timeless, "test", RULE)
    then = items_then(timeless, "test", ColdConfig(max_views=3))
    assert then is not None and then.time is None and then.ages == {}
    np.testing.assert_array_equal(then.cold[FIRST_ROW:], by_time.train_clicks[FIRST_ROW:] < 3)
