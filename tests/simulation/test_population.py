"""The people and videos of a simulation: rates, fading, visits, and what they do."""

from __future__ import annotations

import numpy as np
import pytest

from m3csr_tf.data.world import PERIOD
from m3csr_tf.simulation.feedback import impressions
from m3csr_tf.simulation.population import Population


def test_a_video_is_worth_less_as_it_gets_older_and_no_more_than_that_changes(population: Population) -> None:
    item = int(np.argmin(population.published))
    time = population.begins
    users = np.arange(5)
    lost = population.utilities(users, item, time) - population.utilities(users, item, time + 86_400)
    # A day, in lengths of a video's mean life, which is half of the log's period by default.
    assert lost == pytest.approx(np.full(5, 86_400 / (0.5 * PERIOD)))


def test_match_and_quality_are_the_worlds_own(population: Population) -> None:
    from m3csr_tf.data.world import START, log_share_of_life, make_world

    truth = make_world(population.world).truth
    assert truth is not None
    whole = truth["user_utilities"] @ truth["item_utilities"].T
    match = population.user_side @ population.item_side.T
    shared = population.quality + log_share_of_life(population.world, population.published - START)
    rest = whole - match - shared
    assert rest == pytest.approx(np.full(rest.shape, rest[0, 0]), abs=1e-4)


def test_shown_at_random_videos_are_clicked_liked_and_followed_at_the_rates_that_are_asked_for(
    population: Population,
) -> None:
    settings = population.simulation
    users = np.arange(len(population.user_ids))
    there = np.flatnonzero(population.available(population.begins))
    shown = impressions(
        population, population.begins, users, np.tile(there, (len(users), 1)), np.zeros(len(population.item_ids), int)
    )
    pairs = len(users) * len(there)
    assert len(shown) == pairs and pairs > 9_000
    clicks = shown["click"].sum()
    # 10% of 9,840 is 984, give or take 30; likes and follows are 15% and 3% of those.
    assert clicks == pytest.approx(settings.click_rate * pairs, abs=5 * 30)
    assert shown["like"].sum() == pytest.approx(settings.like_rate * clicks, abs=60)
    assert shown["follow"].sum() == pytest.approx(settings.follow_rate * clicks, abs=30)
    assert not (shown["like"] | shown["follow"])[~shown["click"]].any()
    assert (shown["watch"][shown["click"]] > 0).all() and (shown["watch"][~shown["click"]] == 0).all()
    assert (shown["watch"] <= population.lengths[shown["item"]]).all()


def test_what_a_person_does_with_a_video_hangs_neither_on_the_list_nor_on_its_place(population: Population) -> None:
    views = np.zeros(len(population.item_ids), int)
    alone = impressions(population, population.begins, np.array([4]), np.array([[7]]), views)
    shown = impressions(population, population.begins, np.array([2, 4]), np.array([[1, 3], [5, 7]]), views)
    last = shown.iloc[[-1]].reset_index(drop=True)
    what = ["user", "item", "click", "like", "follow", "watch"]
    assert alone[what].equals(last[what]) and last["rank"][0] == 1


def test_places_without_a_video_are_not_shown(population: Population) -> None:
    views = np.zeros(len(population.item_ids), int)
    shown = impressions(population, population.begins, np.array([4, 6]), np.array([[7, -1], [-1, -1]]), views)
    assert list(shown["item"]) == [7]


def test_visits_are_the_same_for_whoever_asks_and_heavy_users_come_more_often(population: Population) -> None:
    everybody = np.arange(len(population.user_ids))
    some = everybody[::3]
    rounds = [population.visitors(number, everybody) for number in range(400)]
    for number in range(3):
        np.testing.assert_array_equal(population.visitors(number, some), np.intersect1d(rounds[number], some))
    visits = np.bincount(np.concatenate(rounds), minlength=len(everybody)) / 400
    clicks = np.bincount(population.clicks["user"], minlength=len(everybody))
    # The chance of each is 0.3 times her clicks over the mean, at most 1; its standard error at most 0.025.
    assert visits == pytest.approx(np.minimum(1, 0.3 * clicks / clicks.mean()), abs=0.125)


def test_the_past_ends_where_the_loop_begins_and_organic_clicks_follow(population: Population) -> None:
    assert (population.past["time"] < population.begins).all()
    first = population.organic(0)
    assert first["time"].between(population.begins, population.time(1), inclusive="left").all()
    rounds = [population.organic(number) for number in range(40)]
    happened = sum(map(len, rounds))
    all_there = population.clicks["time"].between(population.begins, population.time(40), inclusive="left").sum()
    assert happened == pytest.approx(0.1 * all_there, abs=5 * np.sqrt(0.1 * all_there)) and happened
