from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pydantic import ValidationError

from m3csr_tf.config import WorldConfig
from m3csr_tf.data.raw import RawData
from m3csr_tf.data.world import PERIOD, START, make_world

SMALL = WorldConfig(users=400, items=300, clicks=6000, modalities={"visual": 16, "acoustic": 9}, missing=0.1)


@pytest.fixture(scope="module")
def world() -> RawData:
    return make_world(SMALL)


def rows(world: RawData) -> tuple[np.ndarray, np.ndarray]:
    users = pd.Index(world.truth["user_id"]).get_indexer(world.interactions["user_id"])
    items = pd.Index(world.truth["item_id"]).get_indexer(world.interactions["item_id"])
    return users, items


def test_the_same_configuration_gives_the_same_world(world: RawData) -> None:
    again = make_world(SMALL)
    pd.testing.assert_frame_equal(world.interactions, again.interactions)
    for name, vectors in world.catalogue.content.items():
        assert_array_equal(vectors, again.catalogue.content[name])
    for name, values in world.truth.items():
        assert_array_equal(values, again.truth[name])


def test_another_seed_gives_another_world(world: RawData) -> None:
    other = make_world(SMALL.model_copy(update={"seed": SMALL.seed + 1}))
    assert not world.interactions.equals(other.interactions)


def test_it_has_the_size_that_was_asked_for(world: RawData) -> None:
    assert len(world.interactions) == SMALL.clicks
    assert world.interactions["user_id"].nunique() == SMALL.users
    assert len(world.catalogue.frame) == SMALL.items
    assert {name: vectors.shape for name, vectors in world.catalogue.content.items()} == {
        "visual": (300, 16),
        "acoustic": (300, 9),
    }


def test_nobody_clicks_a_video_twice_and_clicks_a_user_are_heavy_tailed(world: RawData) -> None:
    assert not world.interactions.duplicated(["user_id", "item_id"]).any()
    clicks = world.interactions.groupby("user_id").size()
    assert clicks.min() >= 1
    assert clicks.mean() > 1.2 * clicks.median()


def test_clicks_follow_publishing_and_lie_in_the_period(world: RawData) -> None:
    published = world.catalogue.frame.set_index("item_id")["publish_time"]
    times = world.interactions["timestamp"]
    assert (times >= world.interactions["item_id"].map(published)).all()
    assert times.between(START, START + PERIOD).all()


def test_the_asked_share_of_the_vectors_is_missing(world: RawData) -> None:
    # 600 vectors, 60 of them missing, give or take four standard deviations of 7.3.
    missing = sum(np.isnan(vectors).all(axis=1).sum() for vectors in world.catalogue.content.values())
    assert abs(missing - 60) < 30


def test_view_counts_are_unknown_because_they_would_tell_of_test_clicks(world: RawData) -> None:
    assert (world.catalogue.frame["view_count"] == -1).all()


def test_intensities_are_shares_that_differ_between_users(world: RawData) -> None:
    intensities = world.truth["intensities"]
    assert_allclose(intensities.sum(axis=1), 1, rtol=1e-5)
    assert (intensities.std(axis=0) > 0.2).all()


def test_a_users_taste_in_a_modality_has_the_size_of_her_intensity(world: RawData) -> None:
    # Tastes sum to 1 over the topics of a modality, so the utilities' columns sum to scale * intensity.
    sides = world.truth["user_utilities"]
    by_modality = sides[:, :-1].reshape(SMALL.users, 2, SMALL.topics).sum(axis=2)
    assert_allclose(by_modality, SMALL.scale * world.truth["intensities"], rtol=1e-4, atol=1e-6)
    assert (sides[:, -1] == 1).all()


def test_a_videos_salience_is_shared_out_among_its_modalities(world: RawData) -> None:
    # Topics sum to 1, so a modality's columns sum to its salience; the saliences of a video sum to the modalities.
    by_modality = world.truth["item_utilities"][:, :-1].reshape(SMALL.items, 2, SMALL.topics).sum(axis=2)
    assert_allclose(by_modality.sum(axis=1), 2, rtol=1e-4)


def test_clicks_follow_the_softmax_of_the_true_utilities() -> None:
    # One click a user, all users alike: the shares of 20,000 clicks are softmax(popularity), give or take five
    # standard deviations.
    config = WorldConfig(users=20_000, items=8, clicks=20_000, modalities={"visual": 2}, scale=0, missing=0)
    world = make_world(config)
    _, items = rows(world)
    popularity = world.truth["item_utilities"][:, -1].astype(float)
    expected = np.exp(popularity) / np.exp(popularity).sum()
    found = np.bincount(items, minlength=8) / 20_000
    assert (np.abs(found - expected) < 5 * np.sqrt(expected * (1 - expected) / 20_000)).all()


def test_clicked_videos_have_higher_true_utility_than_others(world: RawData) -> None:
    users, items = rows(world)
    utilities = world.truth["user_utilities"] @ world.truth["item_utilities"].T
    assert utilities[users, items].mean() > utilities.mean() + 0.5 * utilities.std()


def test_a_history_tells_its_users_intensities(world: RawData) -> None:
    """Videos that a user of pictures clicks are visually salient, more than those of others."""
    users, items = rows(world)
    salience = world.truth["item_utilities"][:, :-1].reshape(SMALL.items, 2, SMALL.topics).sum(axis=2)
    counts = np.bincount(users)
    mean = np.bincount(users, weights=salience[items, 0]) / counts
    enough = counts >= 5
    assert np.corrcoef(mean[enough], world.truth["intensities"][enough, 0])[0, 1] > 0.5


def test_of_a_larger_catalogue_a_user_clicks_what_she_was_shown_without_repeats() -> None:
    flat = {"scale": 0, "popularity": 0, "activity": 0}
    world = make_world(WorldConfig(users=500, items=210, shown=100, clicks=5000, modalities={"visual": 4}, **flat))
    assert len(world.interactions) == 5000
    assert world.counts["merged_duplicates"] == 0
    # Each is shown to about half of the users, so none goes without a click.
    assert world.interactions["item_id"].nunique() == 210


def test_nobody_clicks_more_than_half_of_what_she_is_shown() -> None:
    world = make_world(WorldConfig(users=50, items=20, clicks=250, modalities={"visual": 4}, activity=3))
    clicks = world.interactions.groupby("user_id").size()
    assert clicks.max() == 10
    assert clicks.sum() < 250


@pytest.mark.parametrize(
    "settings",
    [
        {"clicks": 10, "users": 11},
        {"clicks": 101, "users": 1, "items": 400},
        {"modalities": {}},
        {"modalities": {"v": 0}},
    ],
)
def test_a_world_that_cannot_be_is_refused(settings: dict) -> None:
    with pytest.raises(ValidationError):
        WorldConfig(**settings)
