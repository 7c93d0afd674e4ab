"""The people and videos of the simulation: the synthetic world with its truth, and the utility of a video over time.

The utility of video i for person u at time t, for a video that was published at p_i:

    utility_ui(t) = match_ui + quality_i - (t - p_i) / life

Match, quality and the mean life of the interest in a video are those of the world (`data.world`). In the world's log,
the popularity of a video includes the share of its life that falls into the log; in the loop, time passes instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.special import expit

from m3csr_tf import columns
from m3csr_tf.config import WorldConfig
from m3csr_tf.data.feedback import lengths_of_videos, offset_for
from m3csr_tf.data.raw import RawData
from m3csr_tf.data.world import PERIOD, START, log_share_of_life, make_world
from m3csr_tf.simulation.settings import SimulationConfig
from m3csr_tf.util.common_random import uniforms

USER, ITEM, TIME = "user", "item", "time"
"""Columns of clicks: positions of users and items, int32, and Unix seconds, int64."""
DAY = 86_400
_PAIRS = 100_000
"""Random pairs of a person and a video that rates are fixed on."""


@dataclass(frozen=True)
class Population:
    """The people and the videos, who are identified by their positions.

    Attributes:
      world: the settings of the world.
      user_ids, item_ids: object arrays of str.
      user_side: float32 [users, k], item_side: float32 [items, k]; their dot products are the matches.
      quality: float64 [items].
      published: publication times in Unix seconds, int64 [items].
      content: modality -> raw vectors float32 [items, width].
      clicks: the world's own log, with USER, ITEM and TIME, in the order of time.
      simulation: the settings of the simulation.
    """

    world: WorldConfig
    user_ids: np.ndarray
    item_ids: np.ndarray
    user_side: np.ndarray
    item_side: np.ndarray
    quality: np.ndarray
    published: np.ndarray
    content: dict[str, np.ndarray]
    clicks: pd.DataFrame
    simulation: SimulationConfig

    @classmethod
    def of(cls, world: WorldConfig, simulation: SimulationConfig) -> Population:
        """Makes the world, and separates its truth into matches and quality."""
        raw = make_world(world)
        truth = raw.truth
        assert truth is not None
        published = raw.catalogue.frame[columns.PUBLISH_TIME].to_numpy(np.int64)
        quality = truth["item_utilities"][:, -1].astype(np.float64) - log_share_of_life(world, published - START)
        return cls(
            world,
            truth[columns.USER_ID],
            truth[columns.ITEM_ID],
            truth["user_utilities"][:, :-1],
            truth["item_utilities"][:, :-1],
            quality - quality.mean(),
            published,
            raw.catalogue.content,
            _clicks(raw, truth),
            simulation,
        )

    @property
    def begins(self) -> int:
        """The time at which the loop begins, in Unix seconds."""
        return START + self.simulation.start_day * DAY

    def time(self, number: int) -> int:
        """Returns the time at which the lists of a round are shown, in Unix seconds; rounds count from 0."""
        return self.begins + number * self.simulation.round_hours * DAY // 24

    @cached_property
    def past(self) -> pd.DataFrame:
        """The clicks before the loop."""
        return self.clicks[self.clicks[TIME] < self.begins].reset_index(drop=True)

    def organic(self, number: int) -> pd.DataFrame:
        """Returns the clicks between a round and the next that happen outside the lists, whatever these show."""
        within = self.clicks[TIME].between(self.time(number), self.time(number + 1), inclusive="left")
        found = self.clicks[within.to_numpy()]
        drawn = uniforms(self.simulation.seed, "organic", found[USER].to_numpy(), found[ITEM].to_numpy())
        return found[drawn < self.simulation.organic].reset_index(drop=True)

    def available(self, time: int) -> np.ndarray:
        """Returns which videos have been published by a time, bool [items]."""
        return self.published <= time

    def visitors(self, number: int, members: np.ndarray) -> np.ndarray:
        """Returns which of `members`, int [n] ascending, come in a round, int [visitors].

        The probability that a person comes is proportional to her number of clicks in the world's log, and at most 1.
        """
        drawn = uniforms(self.simulation.seed, "visit", members, np.asarray(number))
        return members[drawn < np.minimum(1.0, self.simulation.visits * self._activity[members])]

    def utilities(self, users: np.ndarray, items: np.ndarray, time: int) -> np.ndarray:
        """Returns the true utilities of pairs at a time, float64, in the broadcast shape of both arrays."""
        users, items = np.broadcast_arrays(users, items)
        match = np.einsum("...k,...k->...", self.user_side[users], self.item_side[items], dtype=np.float64)
        return match + self.worth(time)[items]

    def worth(self, time: int) -> np.ndarray:
        """Returns the part of utility that is the same for everybody, float64 [items]: quality minus faded interest."""
        age = np.maximum(time - self.published, 0)
        return self.quality - age / (self.world.life * PERIOD)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Seconds that videos last, float64 [items]."""
        return lengths_of_videos(self.simulation.seed, len(self.item_ids), self.simulation.watch_seconds)

    @cached_property
    def offsets(self) -> dict[str, float]:
        """The offsets on a utility whose sigmoid is the probability of "click", "like" and "follow".

        At the beginning of the loop and with videos shown at random, they give the rates that the settings ask for; the
        rates of likes and follows are those among clicks.
        """
        seed = self.simulation.seed
        items = np.flatnonzero(self.available(self.begins))
        positions = np.arange(_PAIRS)
        users = (uniforms(seed, "calibrating users", positions) * len(self.user_ids)).astype(np.int64)
        drawn = items[(uniforms(seed, "calibrating items", positions) * len(items)).astype(np.int64)]
        utilities = self.utilities(users, drawn, self.begins)
        click = offset_for(utilities, np.ones(_PAIRS), self.simulation.click_rate)
        chances = expit(utilities + click)
        return {
            "click": click,
            "like": offset_for(utilities, chances, self.simulation.like_rate),
            "follow": offset_for(utilities, chances, self.simulation.follow_rate),
        }

    @cached_property
    def _activity(self) -> np.ndarray:
        counts = np.bincount(self.clicks[USER], minlength=len(self.user_ids))
        return counts / counts.mean()


def _clicks(raw: RawData, truth: dict[str, np.ndarray]) -> pd.DataFrame:
    frame = raw.interactions
    clicks = pd.DataFrame(
        {
            USER: pd.Index(truth[columns.USER_ID]).get_indexer(frame[columns.USER_ID]).astype(np.int32),
            ITEM: pd.Index(truth[columns.ITEM_ID]).get_indexer(frame[columns.ITEM_ID]).astype(np.int32),
            TIME: frame[columns.TIMESTAMP].to_numpy(np.int64),
        }
    )
    return clicks.sort_values([TIME, USER, ITEM], ignore_index=True)
