"""The log of the synthetic world with what people thought of their clicks: likes, follows and seconds watched.

It is a log of events, in which a click, a like and a follow are rows of their own. Its columns beside user_id, item_id
and timestamp are `event` (click, like or follow) and, of clicks, `watch_seconds` and `watch_share`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa

from m3csr_tf import columns
from m3csr_tf.config import WorldConfig
from m3csr_tf.config.events import EventsConfig
from m3csr_tf.data.events import EventReader, are_weighted
from m3csr_tf.data.feedback import happens, lengths_of_videos, offset_for, share_watched
from m3csr_tf.data.interactions import check_interactions
from m3csr_tf.data.raw import RawData
from m3csr_tf.data.tables import to_pandas
from m3csr_tf.errors import InputError
from m3csr_tf.util.common_random import uniforms
from m3csr_tf.util.quoting import quoted

CLICK, LIKE, FOLLOW = "click", "like", "follow"
EVENT, WATCH_SECONDS, WATCH_SHARE = "event", "watch_seconds", "watch_share"
_CLICK_RATE = 0.1
"""Clicks of a video that is shown at random, which fixes how much of a clicked video is watched."""
_PAIRS = 100_000
"""Random pairs of a user and a video that this rate is fixed on."""


def with_events(raw: RawData, world: WorldConfig, events: EventsConfig) -> RawData:
    """Returns a world whose interactions are its events, chosen and weighed as `data.events` says.

    Raises:
      InputError: the column is none of the world's, or no row of it counts.
    """
    if events.column not in (EVENT, WATCH_SECONDS, WATCH_SHARE):
        raise InputError(
            f"data.events.column is {quoted(events.column)}, but the log of data.format=world has the columns {EVENT}, "
            f"{WATCH_SECONDS} and {WATCH_SHARE}"
        )
    log = events_of(raw, world)
    names = {columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP}
    table = pa.table({name: log[name] for name in log if name in names} | {columns.EVENT: log[events.column]})
    reader = EventReader(events, "world")
    rows = to_pandas(reader.weighed(table, 0, "world"))
    reader.finish()
    interactions, counts = check_interactions(rows, "world", repeated=events.repeated)
    return replace(
        raw,
        interactions=interactions,
        counts=counts | reader.counts(),
        weighted=are_weighted(rows, interactions, "world", events.repeated),
    )


def events_of(raw: RawData, world: WorldConfig) -> pd.DataFrame:
    """Draws the events that go with a world's clicks.

    Args:
      raw: the world, as `make_world` returns it.
      world: its configuration.

    Returns:
      user_id, item_id (str), timestamp (int64, Unix seconds), event (str), and watch_seconds and watch_share (float64,
      NaN for likes and follows); in the order of the world's clicks, then likes, then follows. A like comes when the
      watching ends.
    """
    assert raw.truth is not None
    clicks, truth, seed = raw.interactions, raw.truth, world.seed
    user = pd.Index(truth[columns.USER_ID]).get_indexer(clicks[columns.USER_ID])
    item = pd.Index(truth[columns.ITEM_ID]).get_indexer(clicks[columns.ITEM_ID])
    utility = _utilities(truth, user, item)
    pairs = np.arange(_PAIRS)
    some_users = (uniforms(seed, "calibrating users", pairs) * world.users).astype(np.int64)
    some_items = (uniforms(seed, "calibrating items", pairs) * world.items).astype(np.int64)
    offset = offset_for(_utilities(truth, some_users, some_items), np.ones(_PAIRS), _CLICK_RATE)
    share = share_watched(seed, user, item, utility + offset)
    seconds = share * lengths_of_videos(seed, world.items, world.watch_seconds)[item]
    viewed = clicks.assign(**{EVENT: CLICK, WATCH_SECONDS: seconds, WATCH_SHARE: share})
    frames = [viewed]
    for kind, rate in ((LIKE, world.like_rate), (FOLLOW, world.follow_rate)):
        drawn = happens(seed, kind, user, item, utility + offset_for(utility, np.ones(len(utility)), rate))
        times = clicks[columns.TIMESTAMP] + np.ceil(seconds).astype(np.int64)
        nothing = {WATCH_SECONDS: np.nan, WATCH_SHARE: np.nan}
        frames.append(viewed.assign(**{columns.TIMESTAMP: times, EVENT: kind, **nothing})[drawn])
    return pd.concat(frames, ignore_index=True)


def _utilities(truth: dict[str, np.ndarray], users: np.ndarray, items: np.ndarray) -> np.ndarray:
    sides = truth["user_utilities"][users], truth["item_utilities"][items]
    return np.einsum("nk,nk->n", *sides, dtype=np.float64)
