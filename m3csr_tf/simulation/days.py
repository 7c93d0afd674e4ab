"""A day of one arm: first the nightly job of its recommender, then the rounds until the next night."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from m3csr_tf.config import Config
from m3csr_tf.ids import NO_ITEM
from m3csr_tf.releases import versions
from m3csr_tf.releases.release import open_release
from m3csr_tf.simulation.arm_log import ArmLog, read_round, round_file, write_round
from m3csr_tf.simulation.feedback import impressions
from m3csr_tf.simulation.nights import (
    arm_folder,
    done_file,
    night_config,
    read_done,
    tables_folder,
    training_log,
    write_tables,
)
from m3csr_tf.simulation.plan import Plan
from m3csr_tf.simulation.population import ITEM, Population
from m3csr_tf.simulation.released import ReleasedSystem
from m3csr_tf.simulation.systems import ArmRecommender, Moment, Popularity, Truth
from m3csr_tf.util.common_random import uniforms
from m3csr_tf.util.files import write_json

Build = Callable[[Config], object]
"""Trains a run and publishes it as the current version of its release; steps that are already done are not repeated."""
Report = Callable[[int, str], None]
"""Is called with the number of rounds of the day that are done, and what comes next."""

_KEPT = 2
"""Number of versions of a release that are kept: the current one and the one before."""


def is_done(plan: Plan, system: str, day: int) -> bool:
    """Returns whether all rounds of a day are on the disk."""
    return all(round_file(arm_folder(plan, system), number).exists() for number in rounds_of(plan, day))


def rounds_of(plan: Plan, day: int) -> range:
    """Returns the rounds of a day; both rounds and days count from 0."""
    length = plan.simulation.rounds_a_day
    return range(day * length, (day + 1) * length)


def members_of(plan: Plan, population: Population, system: str) -> np.ndarray:
    """Returns the people of an arm, int [n] ascending.

    With twins these are all people; with split traffic they are those whom a draw by their ids has put into the arm.
    """
    everybody = np.arange(len(population.user_ids))
    if plan.simulation.traffic == "twins":
        return everybody
    arms = list(plan.systems)
    drawn = (uniforms(plan.simulation.seed, "arm", everybody) * len(arms)).astype(np.int64)
    return everybody[drawn == arms.index(system)]


def run_day(plan: Plan, system: str, day: int, build: Build, report: Report) -> None:
    """Runs a day of an arm, or what remains of it.

    Args:
      plan: the simulation.
      system: the name of the arm.
      day: the day, from 0. All days before it must be done; with a shared log, those of every arm.
      build: see `Build`.
      report: see `Report`.

    Raises:
      M3CSRError: the night fails, or a file of an earlier round is broken.
    """
    arm = _Arm(plan, Population.of(plan.world, plan.simulation), system, rounds_of(plan, day).start)
    report(0, f"night {day}")
    recommender = arm.recommender(day, build)
    for done, number in enumerate(rounds_of(plan, day)):
        report(done, f"day {day + 1}")
        if round_file(arm.folder, number).exists():
            arm.log.absorb(number, read_round(arm.folder, number))
        else:
            arm.run_round(number, recommender)
    report(plan.simulation.rounds_a_day, f"day {day + 1}")


@dataclass(frozen=True)
class _Arm:
    """An arm at the beginning of a day.

    Attributes:
      plan, system: see `run_day`.
      population: the people and the videos.
      first: number of the day's first round.
    """

    plan: Plan
    population: Population
    system: str
    first: int

    def recommender(self, day: int, build: Build) -> ArmRecommender:
        """Returns the recommender of the day; a model is trained and released first."""
        kind = self.plan.systems[self.system].kind
        if kind == "popularity":
            return Popularity(self.population)
        if kind == "truth":
            return Truth(self.population)
        done = done_file(self.plan, self.system, day)
        config = night_config(self.plan, self.system, day)
        if not done.exists():
            available = self.population.available(self.population.time(self.first))
            tables = tables_folder(self.plan, self.system, day)
            write_tables(tables, self._training_log(), self.population, available, self.views)
            build(config)
            versions.prune(config.release_folder, _KEPT)
            write_json(done, {"version": versions.current(config.release_folder)})
        release = open_release(config.release_folder, read_done(done))
        return ReleasedSystem(release, self.population, self._ids(self.system))

    def run_round(self, number: int, recommender: ArmRecommender) -> None:
        """Shows lists to the visitors of a round, and writes the impressions."""
        simulation, population = self.plan.simulation, self.population
        time, views = population.time(number), self.views
        users = population.visitors(number, self.log.members)
        lists = np.full((len(users), simulation.list_length), NO_ITEM)
        if len(users):
            seen_by, seen = self.log.seen(users)
            histories = [self.log.histories[user] for user in users.tolist()]
            available = population.available(time)
            moment = Moment(time, users, histories, seen_by, seen, available, views, simulation.list_length)
            lists = recommender.lists(moment)
        shown = impressions(population, time, users, lists, views)
        write_round(self.folder, number, shown)
        self.log.absorb(number, shown)

    @property
    def folder(self) -> Path:
        """The folder of the arm's rounds."""
        return arm_folder(self.plan, self.system)

    @property
    def views(self) -> np.ndarray:
        """The views of each video that the arm knows of, int64 [items]: those in other arms as of the last night."""
        return self._views_before + self.log.views

    @cached_property
    def log(self) -> ArmLog:
        """The arm's own log."""
        return self._log_of(self.system)

    @cached_property
    def _others(self) -> dict[str, ArmLog]:
        """The logs of the other arms that this one learns from."""
        if self.plan.simulation.learns_from == "own":
            return {}
        return {other: self._log_of(other) for other in self.plan.systems if other != self.system}

    @cached_property
    def _views_before(self) -> np.ndarray:
        past = np.bincount(self.population.past[ITEM], minlength=len(self.population.item_ids))
        return past * len(self._pasts) + sum(log.views for log in self._others.values())

    @property
    def _pasts(self) -> list[str]:
        """The arms whose people's clicks before the loop are in the log; in split traffic, one arm holds them all."""
        return [self.system, *self._others] if self.plan.simulation.traffic == "twins" else [self.system]

    def _log_of(self, system: str) -> ArmLog:
        log = ArmLog(self.population, members_of(self.plan, self.population, system))
        log.replay(arm_folder(self.plan, system), self.first)
        return log

    def _ids(self, system: str) -> np.ndarray:
        """Returns the ids of the users in the training log; twins in a shared log are two users."""
        if not self._others or self.plan.simulation.traffic == "split":
            return self.population.user_ids
        return np.asarray([f"{user}@{system}" for user in self.population.user_ids], dtype=object)

    def _training_log(self) -> pd.DataFrame:
        logs = {self.system: self.log} | self._others
        pasts = [(self._ids(one), self.population.past) for one in self._pasts]
        return training_log(self.population, [*pasts, *((self._ids(one), log.clicks()) for one, log in logs.items())])
