"""A segment of the journal is taken in by steps, which end where taking it in at once ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live import videos

from m3csr_tf import columns
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.releases.journal import Segment
from m3csr_tf.releases.refresh import refresh
from m3csr_tf.releases.release import Release, open_release


def segment(added: int, removed: int) -> Segment:
    """Item k has vector [k, k], k views, content on odd k, and the author "a<k>"."""
    numbers = np.arange(added)
    frame = pd.DataFrame({columns.ITEM_ID: [f"v{k}" for k in numbers], columns.VIEW_COUNT: numbers})
    of_each = np.stack([numbers, numbers], axis=1).astype(np.float32)
    return Segment(
        Catalogue(frame, {"visual": of_each}),
        of_each,
        [f"gone {k}" for k in range(removed)],
        numbers % 2 == 1,
        np.ones(added, bool),
        {"author": np.array([f"a{k}" for k in numbers], dtype=object)},
    )


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 10))
def test_parts_of_a_segment_are_its_changes_in_order_and_no_part_is_larger_than_asked(
    added: int, removed: int, most: int
) -> None:
    parts = list(segment(added, removed).divided(most))
    assert all(1 <= len(part) <= most for part in parts)
    assert [item for part in parts for item in part.items.frame[columns.ITEM_ID]] == [f"v{k}" for k in range(added)]
    assert [item for part in parts for item in part.removed] == [f"gone {k}" for k in range(removed)]
    for part in parts:
        numbers = part.items.frame[columns.VIEW_COUNT].to_numpy()
        np.testing.assert_array_equal(part.vectors[:, 0], numbers)
        np.testing.assert_array_equal(part.items.content["visual"][:, 1], numbers)
        np.testing.assert_array_equal(part.has_content, numbers % 2 == 1)
        assert part.values["author"].tolist() == [f"a{k}" for k in numbers]
        assert not (len(part.vectors) and part.removed)


def state(release: Release) -> tuple[list[str], list[str], list[int], np.ndarray]:
    ids = sorted(map(str, release.index.ids))
    names = np.array(ids, dtype=object)
    return ids, sorted(map(str, release.items.ids)), release.items.views(names).tolist(), release.index.vectors(ids)


def test_a_segment_counts_after_its_last_step_and_then_all_is_as_if_it_had_one(folder: Path) -> None:
    by_steps, at_once = open_release(folder), open_release(folder)
    gone = [str(item) for item in by_steps.index.ids[:2]]
    before = len(by_steps.index)
    assert by_steps.position == at_once.position == 0
    frame, content = videos(by_steps, "new 1", "new 2", "new 3")
    refresh(open_release(folder), frame.assign(**{columns.VIEW_COUNT: 7}), content, removed=gone)
    [(number, read)] = by_steps.unread()
    steps = by_steps.take_in(number, read, 2)
    sizes = []
    for changed, size in ((2, before + 2), (1, before + 3), (2, before + 1)):
        sizes.append(next(steps))
        assert (sizes[-1], len(by_steps.index), by_steps.position) == (changed, size, 0)
    assert next(steps, None) is None and by_steps.position == 1
    assert at_once.catch_up() == sum(sizes) == 5 and list(by_steps.unread()) == []
    for one, other in zip(state(by_steps), state(at_once), strict=True):
        np.testing.assert_array_equal(one, other)


def test_steps_that_were_abandoned_are_taken_again_by_the_next_catching_up(folder: Path) -> None:
    reader = open_release(folder)
    gone = [str(item) for item in reader.index.ids[:2]]
    assert reader.position == 0
    refresh(open_release(folder), *videos(reader, "new 1", "new 2"), removed=gone)
    [(number, read)] = reader.unread()
    steps = reader.take_in(number, read, 1)
    for _ in range(3):  # Both additions, and one of the removals.
        next(steps)
    steps.close()
    assert reader.position == 0 and reader.catch_up() == 4 and reader.position == 1
    for one, other in zip(state(reader), state(open_release(folder)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_segment_is_not_taken_in_before_the_one_that_comes_first(folder: Path) -> None:
    reader = open_release(folder)
    with pytest.raises(ValueError, match="expected segment 1, got 2; catch up first"):
        next(reader.take_in(2, segment(1, 0)))
