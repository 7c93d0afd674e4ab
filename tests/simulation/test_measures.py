"""The figures of Table 4, on logs short enough to count by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from m3csr_tf.simulation.measures import exposures_within, is_cold, measure
from m3csr_tf.simulation.population import Population
from m3csr_tf.simulation.settings import SimulationConfig

HOUR = 3600
BEGINS = 1_000_000
PUBLISHED = BEGINS + HOUR * np.array([-30, 0, 10])
"""An old video and two new ones."""


def log(*rows: tuple[int, int, float, int]) -> pd.DataFrame:
    """Rows of user, item, hours after BEGINS, and views of the video then; every other one is clicked."""
    frame = pd.DataFrame(rows, columns=["user", "item", "hours", "views"])
    clicked = np.arange(len(frame)) % 2 == 0
    return frame.assign(
        time=(BEGINS + HOUR * frame["hours"]).astype(np.int64),
        click=clicked,
        like=clicked & (frame["user"] == 0),
        follow=False,
        watch=np.where(clicked, 7.5, 0.0),
    )


def test_climbing_counts_exposures_from_publishing_until_two_days_later() -> None:
    # Video 1 is shown at 0, 48 (the last moment), and 49 hours (too late): twice in time. Video 2, published at 10, is
    # shown 1, 48 and 49 hours after that: twice in time. Video 0 is 30 hours old at the beginning.
    shown = log((0, 1, 0, 0), (1, 1, 48, 0), (0, 1, 49, 0), (0, 2, 11, 0), (1, 2, 58, 0), (1, 2, 59, 0), (0, 0, 19, 0))
    np.testing.assert_array_equal(exposures_within(shown, PUBLISHED, 48), [0, 2, 2])
    np.testing.assert_array_equal(exposures_within(shown, PUBLISHED, 49), [1, 3, 3])


def test_a_cold_video_is_at_most_a_day_old_and_has_fewer_views_than_the_threshold() -> None:
    shown = log((0, 1, 24, 3), (0, 1, 24.5, 0), (0, 1, 1, 4), (0, 2, 34, 0), (0, 0, 0, 0))
    # 24 hours and 3 of 4 views; too old; 4 views; 24 hours; 30 hours.
    np.testing.assert_array_equal(is_cold(shown, PUBLISHED, 24, 4), [True, False, False, True, False])


@pytest.fixture
def three_videos(population: Population) -> Population:
    settings = SimulationConfig(climbing=(1, 2, 3), cold_views=4)
    start = int(population.begins) - BEGINS
    return dataclasses.replace(population, published=PUBLISHED + start, simulation=settings)


def test_figures_are_of_the_people_of_the_arm_and_of_videos_published_in_the_loop(three_videos: Population) -> None:
    # Users 3 and 7 make up the arm. Clicked are rows 0, 2 and 4.
    shown = log((3, 1, 0, 0), (3, 2, 11, 9), (7, 1, 30, 0), (3, 0, 1, 0), (7, 2, 12, 1))
    shown["time"] += int(three_videos.begins) - BEGINS
    found = measure(three_videos, np.array([3, 7]), shown)
    np.testing.assert_array_equal(found["Click"].numerator, [1, 2])
    assert found["Click"].value == 1.5 and found["WatchTime"].value == pytest.approx(3 * 7.5 / 2)
    assert found["Follow"].value == 0
    # Videos 1 and 2 are new, each shown twice in time; the old one does not count, however often it is shown.
    assert [found[f"Climbing_{k}"].value for k in (1, 2, 3)] == [2, 2, 0]
    # Cold places: video 1 at 0 hours and video 2 at 12 hours with 1 view; 9 views, 30 hours, and 31 hours are not.
    assert found["Coverage"].value == pytest.approx(2 / 5)
    np.testing.assert_array_equal(found["Coverage"].numerator, [1, 1])
    np.testing.assert_array_equal(found["Coverage"].denominator, [3, 2])
    assert list(found) == ["Click", "Like", "Follow", "WatchTime", "Climbing_1", "Climbing_2", "Climbing_3", "Coverage"]


def test_an_arm_that_showed_nothing_has_figures_of_zero(three_videos: Population) -> None:
    nothing = log((3, 1, 0, 0))[:0]
    assert {one.value for one in measure(three_videos, np.array([3]), nothing).values()} == {0.0}
