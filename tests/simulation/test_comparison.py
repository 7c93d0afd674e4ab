"""Differences of two arms and their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from m3csr_tf.simulation.comparison import compare
from m3csr_tf.simulation.measures import USERS, VIDEOS, Measure


def a_user(values: np.ndarray) -> Measure:
    return Measure(USERS, values.astype(float), np.ones(len(values)))


def test_two_equal_arms_differ_by_nothing_with_certainty() -> None:
    values = np.random.default_rng(0).poisson(2, 500)
    found = compare({"Click": a_user(values)}, {"Click": a_user(values)}, True, 200, 0)["Click"]
    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert (found.percent, found.percent_low, found.percent_high) == (0, 0, 0)


def test_a_paired_interval_is_that_of_the_differences() -> None:
    random = np.random.default_rng(1)
    base = random.poisson(20, 2000)
    more = base + random.binomial(1, 0.5, 2000)
    paired = compare({"Click": a_user(more)}, {"Click": a_user(base)}, True, 2000, 0)["Click"]
    apart = compare({"Click": a_user(more)}, {"Click": a_user(base)}, False, 2000, 0)["Click"]
    # Differences are 0 or 1 with a standard error of sqrt(1/4 / 2000) = 0.0112; each arm has one of sqrt(20 / 2000) =
    # 0.1, two independent ones 0.141. An interval of 95% is 3.92 of them wide.
    assert paired.high - paired.low == pytest.approx(3.92 * 0.0112, rel=0.1)
    assert apart.high - apart.low == pytest.approx(3.92 * 0.141, rel=0.1)
    assert paired.low < paired.difference < paired.high
    assert paired.percent == pytest.approx(100 * paired.difference / paired.control)
    assert paired.percent_low < paired.percent < paired.percent_high


def test_a_ratio_is_resampled_as_one() -> None:
    # Everybody's places are a tenth cold, however many she has: no resample says anything else.
    places = np.arange(1.0, 100)
    system, control = Measure(USERS, places / 10, places), Measure(USERS, places / 20, places)
    found = compare({"Coverage": system}, {"Coverage": control}, True, 300, 0)["Coverage"]
    assert (found.system, found.control) == (pytest.approx(0.1), pytest.approx(0.05))
    assert [found.low, found.high] == pytest.approx([0.05, 0.05])
    assert [found.percent, found.percent_low, found.percent_high] == pytest.approx([100, 100, 100])


def test_videos_are_paired_where_traffic_is_split_too() -> None:
    climbed = np.array([8.0, 0, 0, 8, 0, 0, 0, 0])
    one = Measure(VIDEOS, climbed, np.ones(8))
    found = compare({"Climbing_1": one}, {"Climbing_1": one}, False, 200, 0)["Climbing_1"]
    assert (found.system, found.low, found.high) == (2, 0, 0)


def test_without_anything_in_the_control_there_is_no_per_cent() -> None:
    some, none = a_user(np.array([1, 0, 2])), a_user(np.zeros(3))
    found = compare({"Follow": some}, {"Follow": none}, True, 200, 0)["Follow"]
    assert found.difference == 1 and found.percent is None and found.percent_low is None
    # One follow of three people: resamples without it have nothing to divide by.
    rare = compare({"Follow": some}, {"Follow": a_user(np.array([0, 1, 0]))}, True, 200, 0)["Follow"]
    assert rare.percent == pytest.approx(200) and rare.percent_low is None and rare.low < rare.high


def test_the_same_seed_gives_the_same_intervals() -> None:
    one, other = (a_user(np.random.default_rng(seed).poisson(2, 50)) for seed in (0, 1))
    first, again, another = (compare({"Click": one}, {"Click": other}, True, 200, seed) for seed in (5, 5, 6))
    assert first == again != another
