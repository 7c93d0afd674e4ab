"""Which items are cold, and how old items are, at the time that an evaluation stands for.

That time is the beginning of the judged split's period: the first click of the split, if all clicks of the earlier
splits came before it, as in a split by time. Views are then the clicks of the earlier splits, val before test among
them. If the splits overlap in time, no such moment exists; the time is then that of the last training click, and views
are training clicks. Neither uses anything that happened later: the view counts of a catalogue may be younger than the
split, so they count only where popularity is taken from them as well (popularity.source=view_count). Clicks on strictly
cold and pseudo-cold items, which are in their split whenever they were, do not move the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from m3csr_tf import columns
from m3csr_tf.config import ColdConfig
from m3csr_tf.data import cold
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.util.moments import EARLIEST, LATEST

UNDER_DAY, DAY_TO_WEEK, OVER_WEEK, UNKNOWN = "age_under_day", "age_day_to_week", "age_over_week", "age_unknown"
"""Slices of clicks by the age of their item. One that was published later, in the judged period, is under a day old."""


@dataclass(frozen=True)
class ItemsThen:
    """The items at the time that an evaluation stands for.

    Attributes:
      cold: bool [items], the cold items by the settings; reserved rows are not.
      ages: slice -> bool [items], the known items by their age; empty without publish times or timestamps.
      time: the time in Unix seconds; None if the log has no timestamps.
      later: number of items that were published after that time.
    """

    cold: np.ndarray
    ages: dict[str, np.ndarray]
    time: float | None
    later: int

    def to_json(self) -> dict[str, Any]:
        """Returns the time (ISO 8601) and counts of items, for metrics.json."""
        return {
            "time": None if self.time is None else datetime.fromtimestamp(self.time, UTC).isoformat(),
            "items": int(self.cold.sum()),
            "published_later": self.later,
            **{name: int(items.sum()) for name, items in self.ages.items()},
        }

    def in_words(self) -> str:
        """The same in a sentence."""
        tree = self.to_json()
        counts = {name: count for name, count in tree.items() if name not in ("time", "items")}
        parts = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items())
        at = "" if self.time is None else f" at {tree['time']}"
        return f"{tree['items']:,} items are cold{at} ({parts})"


def items_then(prepared: Prepared, split: str, rule: ColdConfig) -> ItemsThen | None:
    """Returns the items at the time that the evaluation of a split stands for; None if the rule is not set.

    Args:
      prepared: the data.
      split: "val" or "test".
      rule: the largest age and number of views of a cold item.

    Raises:
      InputError: the rule asks for ages, and the log has no timestamps, or no item a publish time.
    """
    if not rule.is_set:
        return None
    known = np.arange(len(prepared.items)) >= FIRST_ROW
    time, earlier = _moment(prepared, split)
    age = cold.ages(prepared.publish_times, np.nan if time is None else time)
    has_ages = time is not None and not np.isnan(age[known]).all()
    if rule.max_age_hours is not None and not has_ages:
        lacking = "the log has no timestamps" if time is None else "no item has a publish_time"
        raise InputError(
            f"{prepared.folder}: {lacking} (of the years 1980 to 2099), so no age is known for "
            f"cold.max_age_hours={rule.max_age_hours:g}; give it and prepare again, or leave cold.max_age_hours unset"
        )
    views = prepared.known_views if prepared.popularity.source == columns.VIEW_COUNT else _clicks(prepared, earlier)
    by_age = {
        UNDER_DAY: age < cold.DAY,
        DAY_TO_WEEK: (age >= cold.DAY) & (age < 7 * cold.DAY),
        OVER_WEEK: age >= 7 * cold.DAY,
        UNKNOWN: np.isnan(age),
    }
    return ItemsThen(
        known & cold.is_cold(rule, age, views, prepared.train_clicks == 0),
        {name: known & items for name, items in by_age.items()} if has_ages else {},
        time,
        0 if time is None else int((known & (prepared.publish_times > time)).sum()),
    )


def _moment(prepared: Prepared, split: str) -> tuple[float | None, tuple[str, ...]]:
    """Returns the time that the evaluation of a split stands for, and the splits that came before it."""
    earlier = columns.SPLITS[: columns.SPLITS.index(split)]
    periods = {name: ends for name, ends in prepared.periods.items() if EARLIEST <= ends[0] <= ends[1] < LATEST}
    if split in periods and all(periods[name][1] < periods[split][0] for name in earlier if name in periods):
        return periods[split][0], earlier
    return (periods[columns.TRAIN][1] if columns.TRAIN in periods else None), (columns.TRAIN,)


def _clicks(prepared: Prepared, names: tuple[str, ...]) -> np.ndarray:
    """Returns the clicks of each item in some splits, int64 [items]."""
    counts = prepared.train_clicks.copy()
    for name in names:
        if name != columns.TRAIN:
            for block in prepared.blocks(name, [columns.ITEM_ROW]):
                counts += np.bincount(block[columns.ITEM_ROW].to_numpy(), minlength=len(counts))
    return counts
