"""simulate: reproduces Table 4 of the paper by a simulation of systems in a closed loop with the synthetic world."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from m3csr_tf.config import Config
from m3csr_tf.errors import RunError
from m3csr_tf.simulation import tables, workers
from m3csr_tf.simulation.days import is_done, run_day
from m3csr_tf.simulation.nights import arm_folder
from m3csr_tf.simulation.plan import Plan, read_plan
from m3csr_tf.simulation.results import results_of
from m3csr_tf.util.files import write_json
from m3csr_tf.util.locks import folder_lock
from m3csr_tf.util.progress import progress
from m3csr_tf.util.stored import stored_json
from m3csr_tf.verbs.console import console, say
from m3csr_tf.verbs.release import publish
from m3csr_tf.verbs.system_errors import system_errors
from m3csr_tf.verbs.train import train

IDENTITY, RESULTS = "simulation.json", "results.json"
_FORMAT = 1
_FOLDERS = ("arms", "runs", "saved_models")
"""Folders that a simulation leaves in its own folder, beside its tables."""


def simulate(config: Config, file: Path, overrides: Sequence[str] = (), quick: bool = False) -> Path:
    """Simulates the systems of a file side by side in the synthetic world, and compares how people use their lists.

    A round or a night that is complete is not repeated: after a kill the same command continues, and gives the same
    tables.

    Args:
      config: the defaults with the overrides; it says whether a simulation of the same name may be replaced.
      file: the YAML file of the simulation (`simulation.settings.SimulationFile`).
      overrides: `simulation.NAME=VALUE`, and settings of all systems.
      quick: add the settings that the file has for --quick.

    Returns:
      The path <run.folder>/<name>/results.json, with table4.csv, arms.csv and days.csv beside it.

    Raises:
      ConfigError: the file or a setting is wrong. Nothing has been done in that case.
      RunError: the folder holds another simulation, or a night has failed.
    """
    plan = read_plan(file, overrides, quick)
    with folder_lock(plan.folder):
        _open(plan, config.run.overwrite)
        _run(plan)
        results = results_of(plan)
        write_json(plan.folder / RESULTS, results)
        written = tables.write_tables(plan.folder, results)
    for system, found in results["differences"].items():
        console.print(tables.differences_table(system, plan.control, found, _title(results, system)))
    console.print(tables.days_table(results["days"]))
    for system, arm in results["arms"].items():
        if arm["empty_places"]:
            share = arm["empty_places"] / (arm["empty_places"] + arm["impressions"])
            say(
                f"{system}: {share:.1%} of the places stayed empty, since visitors had seen all there was; a larger "
                "data.world.items, or a smaller simulation.list_length or visits, would fill them"
            )
    say(f"all figures: {plan.folder / RESULTS}, {', '.join(path.name for path in written)}")
    return plan.folder / RESULTS


def build(config: Config) -> None:
    """Runs the nightly job: prepares, trains and publishes; steps that are complete are not repeated."""
    train(config)
    publish(config)


def work_day(report: Callable[[int, str], None], plan: Plan, system: str, day: int) -> None:
    """Runs one day of an arm, in a process of its own.

    Args:
      report: progress callback, which gets the number of rounds of the day that are done and what is being done.
      plan: the simulation.
      system: name of the system of the arm.
      day: number of the day, from 0.
    """
    # Threads are set before TensorFlow starts, even if tonight's training is complete: they can change the last digit.
    if system in plan.configs:
        from m3csr_tf.training.runtime import configure

        configure(plan.configs[system].run)
    with system_errors():
        run_day(plan, system, day, build, report)


def _open(plan: Plan, overwrite: bool) -> None:
    """Takes over the folder of the simulation, or refuses it because of what it holds.

    Raises:
      RunError: the folder holds another simulation, or something else.
    """
    path = plan.folder / IDENTITY
    wanted = {"format": _FORMAT, **plan.identity()}
    if path.exists():
        found = stored_json(path, f"choose another run.name, or delete {plan.folder}", RunError)
        if found == wanted:
            return
        changed = ", ".join(_differing(found, wanted))
        if not overwrite:
            raise RunError(
                f"{plan.folder}: a simulation of this name has other settings ({changed}); choose another run.name, or "
                "pass run.overwrite=true to replace it"
            )
        for name in _FOLDERS:
            shutil.rmtree(plan.folder / name, ignore_errors=True)
        for name in (IDENTITY, RESULTS, *tables.FILES):
            (plan.folder / name).unlink(missing_ok=True)
    elif plan.folder.exists() and any(plan.folder.iterdir()):
        raise RunError(f"{plan.folder}: something else than a simulation lies there; choose another run.name")
    write_json(path, wanted)


def _differing(found: Mapping[str, Any], wanted: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """Yields the dotted names of the settings that differ between two trees, e.g. simulation.days."""
    for name in dict.fromkeys([*wanted, *found]):
        one, other = found.get(name), wanted.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _differing(one, other, f"{within}{name}.")
        elif one != other:
            yield f"{within}{name}"


def _run(plan: Plan) -> None:
    rounds, days = plan.simulation.rounds_a_day, range(plan.simulation.days)
    parts = [(day, system) for day in days for system in plan.systems]
    todo = [part for part in parts if not is_done(plan, part[1], part[0])]
    done = rounds * (len(parts) - len(todo))
    with progress("simulating, rounds of all arms", rounds * len(parts), done) as stage:
        for day, system in todo:
            before = done

            def heard(days_done: int, doing: str, before: int = before, system: str = system) -> None:
                stage(before + days_done, figures=f"{system}, {doing}")

            log = arm_folder(plan, system) / "output" / f"day_{day + 1:03d}.log"
            workers.run(work_day, (plan, system, day), log, heard, f"{system}, day {day + 1}")
            done += rounds


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


def _title(results: dict[str, Any], system: str) -> str:
    settings, videos = results["simulation"], results["videos"]
    traffic = "its twin in the other arm" if settings["traffic"] == "twins" else "other people in the other arm"
    return (
        f"{system} beside {results['control']}: {_days(settings['days'])}, "
        f"{results['arms'][system]['people']:,} people, each with {traffic}, "
        f"{videos['before']:,} videos before and {videos['new']:,} new ones"
    )
