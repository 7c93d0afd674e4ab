"""A release as the recommender of an arm: what comes into it, and the lists that it makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from m3csr_tf.releases.refresh import refresh
from m3csr_tf.releases.release import Release
from m3csr_tf.simulation.population import Population
from m3csr_tf.simulation.released import ReleasedSystem
from m3csr_tf.simulation.settings import SimulationConfig
from m3csr_tf.simulation.systems import Moment

NEW = np.array([3, 40, 60])
"""Videos that have content."""


@pytest.fixture
def people(untrained_run: Any) -> Population:
    """The world that the release was made of."""
    return Population.of(untrained_run.config.data.world, SimulationConfig())


@pytest.fixture
def without_some(live: Release, people: Population) -> Release:
    """The release, without videos that have yet to be published."""
    refresh(live, removed=list(people.item_ids[NEW]))
    return live


def test_new_videos_and_changed_views_come_in_once(without_some: Release, people: Population) -> None:
    system = ReleasedSystem(without_some, people, people.user_ids)
    views = np.arange(len(people.item_ids))
    available = np.ones(len(views), bool)
    available[NEW[0]] = False
    system.take_in(available, views)
    store = without_some.items
    np.testing.assert_array_equal(store.holds(people.item_ids[NEW]), [False, True, True])
    np.testing.assert_array_equal(store.views(people.item_ids[available]), views[available])
    position = without_some.position
    system.take_in(available, views)
    assert without_some.position == position
    views[NEW[1]] += 5
    system.take_in(available, views)
    assert without_some.position == position + 1
    (_, last) = list(without_some.journal.read(position))[-1]
    assert list(last.items.frame["item_id"]) == [people.item_ids[NEW[1]]]


def test_a_model_without_content_gets_views_and_no_new_videos(
    without_some: Release, people: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_some.manifest["places_new_items"] = False
    monkeypatch.setattr("m3csr_tf.releases.refresh.is_current", lambda release: True)
    system = ReleasedSystem(without_some, people, people.user_ids)
    views = np.full(len(people.item_ids), 9)
    system.take_in(np.ones(len(views), bool), views)
    assert not without_some.items.holds(people.item_ids[NEW]).any()
    assert (without_some.items.views(np.delete(people.item_ids, NEW)) == 9).all()


def test_lists_are_the_best_of_what_was_not_seen(live: Release, people: Population) -> None:
    system = ReleasedSystem(live, people, people.user_ids)
    items = len(people.item_ids)
    users = np.array([2, 5])
    # The second has seen all but three.
    seen = np.concatenate([[7, 9], np.arange(3, items)])
    seen_by = np.concatenate([[0, 0], np.ones(items - 3, int)])
    moment = Moment(
        people.begins, users, [[7, 9], [4]], seen_by, seen, np.ones(items, bool), np.full(items, 1), length=5
    )
    lists = system.lists(moment)
    assert lists.shape == (2, 5)
    assert set(lists[1][:3]) == {0, 1, 2} and list(lists[1][3:]) == [-1, -1]
    frame = pd.DataFrame({"user_id": people.user_ids[users], "history": [[people.item_ids[7], people.item_ids[9]], []]})
    scores = live.index.vectors(people.item_ids) @ live.user_vectors(frame)[0]
    scores[[7, 9]] = -np.inf
    np.testing.assert_array_equal(lists[0], np.argsort(-scores)[:5])
