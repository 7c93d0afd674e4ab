"""The settings in the file of a simulation: the compared systems, the days that they run, and what is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from m3csr_tf.config import LARGEST_SEED, Section
from m3csr_tf.util.names import Name
from m3csr_tf.util.quoting import quoted

HOURS_OF_DAY = 24
LAST_DAY = 27
"""The last day of the world's log of 30 days on which it publishes a video (data/world.py)."""


class SimulationConfig(Section):
    """How long the closed loop runs, how people behave in it, and what counts as cold or as a climb."""

    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="of all that chance decides, the same in every arm")
    start_day: int = Field(
        20,
        ge=1,
        le=LAST_DAY - 1,
        description="day of the world's log at which the loop begins; its clicks until then are every arm's past",
    )
    days: int = Field(4, ge=1, le=LAST_DAY, description="days of the loop; each begins with the nightly job")
    round_hours: int = Field(4, ge=1, le=HOURS_OF_DAY, description="hours between two rounds of lists; divides 24")
    list_length: int = Field(10, ge=1, le=1000, description="videos shown to a visitor in a round")
    visits: float = Field(
        0.3, gt=0, le=1, description="mean share of the users who come in a round; heavy users come more often"
    )
    click_rate: float = Field(
        0.1, gt=0, lt=1, description="clicks of a video shown, if videos were shown at random; fixes the scale"
    )
    like_rate: float = Field(0.15, gt=0, lt=1, description="likes of a click, if videos were shown at random")
    follow_rate: float = Field(0.03, gt=0, lt=1, description="follows of a click, if videos were shown at random")
    watch_seconds: float = Field(20.0, gt=0, le=1e5, description="median length of a video, log-normal of spread 0.6")
    organic: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of the world's own clicks of these days that happen as well, outside the lists (search, "
        "profiles, links from friends)",
    )
    cold_hours: float = Field(24.0, gt=0, le=1e4, description="a cold video is at most so old (paper: 24)")
    cold_views: int = Field(20, ge=1, le=10**9, description="and has fewer views than this (paper: 4,000)")
    climbing: tuple[int, ...] = Field(
        (50, 100, 200), min_length=1, description="the k of Climbing_k, exposures (paper: 4,000)"
    )
    climbing_hours: float = Field(48.0, gt=0, le=1e4, description="hours from its publishing to climb in (paper: 48)")
    traffic: Literal["twins", "split"] = Field(
        "twins",
        description="twins: each person is in every arm once, with the same tastes and random numbers, so differences "
        "are paired over persons; split: each person is in one arm, drawn by her id, as in a live experiment",
    )
    learns_from: Literal["own", "shared"] = Field(
        "own",
        description="whose clicks an arm trains on and counts as views: those of its own traffic, or of all arms; in a "
        "shared log one arm learns from what the other has explored, which hides a part of the difference",
    )
    bootstrap: int = Field(2000, ge=100, le=100_000, description="resamples of the confidence intervals")

    @model_validator(mode="after")
    def _check(self) -> SimulationConfig:
        if HOURS_OF_DAY % self.round_hours:
            raise ValueError(f"simulation.round_hours must divide 24, got {self.round_hours}")
        if self.start_day + self.days > LAST_DAY:
            raise ValueError(
                f"simulation.start_day and simulation.days end on day {self.start_day + self.days}, but the world "
                f"publishes no new videos after day {LAST_DAY}; begin earlier or take fewer days"
            )
        if any(one < 1 for one in self.climbing) or len(set(self.climbing)) < len(self.climbing):
            raise ValueError(f"simulation.climbing must be different numbers from 1, got {quoted(list(self.climbing))}")
        return self

    @property
    def rounds_a_day(self) -> int:
        """Number of rounds of a day."""
        return HOURS_OF_DAY // self.round_hours


class SystemConfig(Section):
    """The recommender of one arm."""

    kind: Literal["release", "popularity", "truth"] = Field(
        "release",
        description="release: a model that is trained, released and refreshed; popularity: the most viewed videos; "
        "truth: the world's own utilities, which nobody can know, as a ceiling",
    )
    config: Path | None = Field(None, description="YAML file of settings, from the folder of this file")
    settings: tuple[str, ...] = Field((), description="settings of this system, section.name=value")
    warm_start: bool = Field(False, description="each night goes on from the one before, instead of starting afresh")

    @model_validator(mode="after")
    def _check(self) -> SystemConfig:
        given = [name for name in ("config", "settings", "warm_start") if getattr(self, name)]
        if self.kind != "release" and given:
            raise ValueError(f"a system of kind {self.kind} has nothing to train: leave out {', '.join(given)}")
        return self


class SimulationFile(Section):
    """The whole file (docs/simulation.md)."""

    name: Name | None = Field(None, description="names the folder of the simulation; without one, the file's name")
    settings: tuple[str, ...] = Field((), description="settings of all systems, and of the world: section.name=value")
    systems: dict[Name, SystemConfig] = Field(min_length=2)
    control: Name | None = Field(None, description="what the others are compared with; the last one without a name")
    simulation: SimulationConfig = SimulationConfig()
    quick: tuple[str, ...] = Field((), description="settings that --quick adds, also simulation.name=value")

    @model_validator(mode="after")
    def _check(self) -> SimulationFile:
        if self.control is not None and self.control not in self.systems:
            raise ValueError(f"control is {quoted(self.control)}, but systems are {', '.join(self.systems)}")
        return self
