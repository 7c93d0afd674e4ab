"""Computes all figures of a simulation whose rounds are done, from their files."""

from __future__ import annotations

from typing import Any

import pandas as pd

from m3csr_tf.simulation.arm_log import read_round
from m3csr_tf.simulation.comparison import compare
from m3csr_tf.simulation.days import members_of, rounds_of
from m3csr_tf.simulation.feedback import CLICK, WATCH
from m3csr_tf.simulation.measures import COVERAGE, Measure, is_cold, measure
from m3csr_tf.simulation.nights import arm_folder
from m3csr_tf.simulation.plan import Plan
from m3csr_tf.simulation.population import TIME, Population


def results_of(plan: Plan) -> dict[str, Any]:
    """Returns the tree of results.json (docs/simulation.md), in which nothing depends on durations or on kills.

    Raises:
      RunError: the file of a round is missing or broken.
    """
    population, settings = Population.of(plan.world, plan.simulation), plan.simulation
    measures: dict[str, dict[str, Measure]] = {}
    arms: dict[str, dict[str, float]] = {}
    days: list[dict[str, Any]] = []
    for system in plan.systems:
        members = members_of(plan, population, system)
        days_shown = [_shown(plan, population, system, day) for day in range(settings.days)]
        whole = pd.concat(days_shown, ignore_index=True)
        measures[system] = measure(population, members, whole)
        figures = {name: one.value for name, one in measures[system].items()}
        rounds = range(settings.days * settings.rounds_a_day)
        visits = sum(len(population.visitors(number, members)) for number in rounds)
        empty = visits * settings.list_length - len(whole)
        counts = {"people": len(members), "visits": visits, "impressions": len(whole), "empty_places": empty}
        arms[system] = counts | figures
        days += [_day(population, system, day, shown) for day, shown in enumerate(days_shown)]
    last = population.time(settings.days * settings.rounds_a_day - 1)
    new = (population.published >= population.begins) & population.available(last)
    paired = settings.traffic == "twins"
    differences = {
        system: compare(found, measures[plan.control], paired, settings.bootstrap, settings.seed)
        for system, found in measures.items()
        if system != plan.control
    }
    return {
        "simulation": settings.model_dump(mode="json"),
        "control": plan.control,
        "videos": {"before": int((population.published < population.begins).sum()), "new": int(new.sum())},
        "arms": arms,
        "differences": {
            system: {name: one.as_json() for name, one in found.items()} for system, found in differences.items()
        },
        "days": days,
    }


def _shown(plan: Plan, population: Population, system: str, day: int) -> pd.DataFrame:
    """Reads the impressions of a day, with the column TIME."""
    frames = [
        read_round(arm_folder(plan, system), number).assign(**{TIME: population.time(number)})
        for number in rounds_of(plan, day)
    ]
    return pd.concat(frames, ignore_index=True)


def _day(population: Population, system: str, day: int, shown: pd.DataFrame) -> dict[str, Any]:
    settings = population.simulation
    cold = is_cold(shown, population.published, settings.cold_hours, settings.cold_views)
    clicks = int(shown[CLICK].sum())
    return {
        "system": system,
        "day": day + 1,
        "impressions": len(shown),
        "clicks": clicks,
        "click_rate": clicks / max(1, len(shown)),
        "watch_hours": float(shown[WATCH].astype("float64").sum()) / 3600,
        COVERAGE: float(cold.mean()) if len(shown) else 0.0,
    }
