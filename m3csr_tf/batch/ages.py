"""The age of items in the filters of lists: who is cold, what is too old, and the time at which that is asked."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from m3csr_tf.config import ColdConfig, ListsConfig
from m3csr_tf.data import cold
from m3csr_tf.errors import InputError
from m3csr_tf.releases.release import Release


@dataclass(frozen=True)
class AgeRules:
    """What the filters of a job ask of the age and the views of items.

    Attributes:
      cold: the largest age and number of views of a cold item.
      max_age_days: the largest age of an item that may be in a list; None for no such limit.
      now: the time at which ages are taken, in Unix seconds; None where the clock is still to be read, or not needed.
      asks_for_cold: whether the job asks which items are cold.
      section: the section of the settings, for messages.
    """

    cold: ColdConfig = field(default_factory=ColdConfig)
    max_age_days: float | None = None
    now: float | None = None
    asks_for_cold: bool = False
    section: str = "retrieve"

    @classmethod
    def of(cls, config: ListsConfig, rule: ColdConfig) -> AgeRules:
        """Returns the rules of a job's settings."""
        asks_for_cold = config.only == "cold" or config.cold_quota > 0
        return cls(rule, config.max_age_days, config.now, asks_for_cold, config.section)

    @property
    def needs_ages(self) -> bool:
        """Whether the lists depend on the time at which they are made."""
        return self.max_age_days is not None or (self.asks_for_cold and self.cold.max_age_hours is not None)

    def identity(self) -> dict[str, Any]:
        """Returns the settings on which the lists depend, as JSON; empty where they are as without these rules."""
        found: dict[str, Any] = {}
        if self.asks_for_cold and self.cold.is_set:
            found["cold"] = self.cold.model_dump(mode="json")
        if self.max_age_days is not None:
            found["max_age_days"] = self.max_age_days
        if self.needs_ages and self.now is not None:
            found["now"] = self.now
        return found

    def clock(self) -> float | None:
        """Reads the clock, if the lists depend on it: the time in Unix seconds, otherwise None."""
        return time.time() if self.needs_ages and self.now is None else None

    def at(self, now: float | None) -> AgeRules:
        """Returns the same rules at a time that the clock has shown; unchanged for None."""
        return self if now is None else replace(self, now=now)

    def is_cold(self, release: Release, ids: np.ndarray) -> np.ndarray:
        """Returns which items of a release are cold, bool [ids]."""
        return release.items.is_cold(ids, self.cold, self._now)

    def too_old(self, release: Release, ids: np.ndarray) -> np.ndarray:
        """Returns which items are older than `max_age_days`, bool [ids]; one of unknown age is not."""
        if self.max_age_days is None:
            return np.zeros(len(ids), bool)
        return cold.ages(release.items.publish_times(ids), self._now) > self.max_age_days * cold.DAY

    def check(self, release: Release, ids: np.ndarray) -> None:
        """Refuses rules about ages for a release that knows the publish time of none of these items.

        Raises:
          InputError: no item has a publish time.
        """
        if self.needs_ages and np.isnan(cold.ages(release.items.publish_times(ids), self._now)).all():
            asked = {"cold.max_age_hours": self.cold.max_age_hours} if self.asks_for_cold else {}
            asked[f"{self.section}.max_age_days"] = self.max_age_days
            given = " and ".join(f"{name}={value:g}" for name, value in asked.items() if value is not None)
            raise InputError(
                f"{given}: none of the {len(ids):,} items of version {release.version} has a publish_time (of the "
                "years 1980 to 2099), so no age is known; give the column in the catalogue and release again, or in a "
                "file for pipelines/refresh.py"
            )

    def doubts(self, release: Release) -> list[str]:
        """Returns sentences with counts of items whose age is unknown or below 0, or that no age is asked for."""
        if not self.needs_ages:
            return [] if self.now is None else [f"{self.section}.now has no effect, since nothing asks for an age"]
        ids = release.index.ids
        times = release.items.publish_times(ids)
        unknown = int(np.isnan(cold.ages(times, self._now)).sum())
        later = int((times > self._now).sum())
        found = []
        if unknown:
            says = ["are not cold by age"] * (self.asks_for_cold and self.cold.max_age_hours is not None)
            says += [f"stay in lists whatever {self.section}.max_age_days says"] * (self.max_age_days is not None)
            found.append(f"{unknown:,} of {len(ids):,} items have no publish_time; they {' and '.join(says)}")
        if later:
            found.append(
                f"{later:,} of {len(ids):,} items have a publish_time after {self.section}.now, the latest by "
                f"{np.nanmax(times) - self._now:,.0f} s; they count as just published. Do the clocks agree?"
            )
        return found

    @property
    def _now(self) -> float:
        return np.nan if self.now is None else self.now
