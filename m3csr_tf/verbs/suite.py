"""suite: trains one recipe on many data sets, and compares it with tuned baselines on each."""

from __future__ import annotations

import gc
import json
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from m3csr_tf import config as configuration
from m3csr_tf.baselines.registry import CEILING
from m3csr_tf.config import Config
from m3csr_tf.errors import ConfigError, M3CSRError, RunError
from m3csr_tf.evaluation.report import Evaluation
from m3csr_tf.experiments import suite as results
from m3csr_tf.experiments.shared_prepared import share_prepared
from m3csr_tf.training import run_files
from m3csr_tf.util import signals
from m3csr_tf.util.files import write_json
from m3csr_tf.util.names import check_room, is_plain
from m3csr_tf.util.quoting import shortened
from m3csr_tf.verbs.console import console, say
from m3csr_tf.verbs.evaluated_systems import evaluate_systems, titled
from m3csr_tf.verbs.suite_file import Member, Suite, read_suite
from m3csr_tf.verbs.system_errors import system_errors
from m3csr_tf.verbs.train import train


class _Plan(NamedTuple):
    """A member that is to be trained: its entry in the file, and one configuration for each seed."""

    member: Member
    seed_configs: list[Config]


def suite(
    config: Config,
    file: Path,
    overrides: Sequence[str],
    folders: Sequence[str] = (),
    only: Sequence[str] = (),
    split: str | None = None,
    count: int | None = None,
) -> Path:
    """Trains one recipe with several seeds on every member of a suite, and compares it with tuned baselines there.

    The runs are named <suite>-<member>-seed<k>; finished ones are not trained again. If a member fails, its error is
    reported, and the other members go on.

    Args:
      config: the defaults with the overrides. It gives the folder of the runs, and the suite's name if `run.name` is
        set.
      file: the YAML file of the suite (`Suite`).
      overrides: settings for all members, section.name=value, which are applied last.
      folders: NAME=FOLDER, folders of data sets that replace those of the file.
      only: names of the members to run; all if it is empty.
      split: "val" or "test" for all members, instead of what the file says.
      count: number of seeds, instead of the file's.

    Returns:
      The path <run folder>/<suite>-suite.json.

    Raises:
      ConfigError: the file, a setting or an option is wrong, or no member can be run. Nothing has been trained in that
        case.
      RunError: a member has failed; it is raised at the end.
    """
    suite = read_suite(file)
    name = config.run.name if "name" in config.run.model_fields_set else suite.name or file.stem
    if not is_plain(name):
        raise ConfigError(f"{file}: its name cannot name runs; give the suite a name, e.g. name: tonight")
    folders_of_data = suite.data | _given(folders, suite)
    unknown = [one for one in only if one not in suite.members]
    if unknown:
        raise ConfigError(
            f"--member {shortened(unknown[0])}: the suite has no such member; it has {', '.join(suite.members)}"
        )
    plans: dict[str, _Plan] = {}
    members: dict[str, dict[str, Any]] = {}
    for member_name, member in suite.members.items():
        if only and member_name not in only:
            continue
        if member.data is not None and folders_of_data[member.data] is None:
            members[member_name] = {"left_out": f"no folder for {member.data}; pass --data {member.data}=FOLDER"}
            say(f"{member_name} is left out: {members[member_name]['left_out']}")
            continue
        if split is not None:
            member = member.model_copy(update={"split": split})
        base = _base(file, suite, member_name, member, folders_of_data, overrides)
        seed_configs = _of_seeds(base, f"{name}-{member_name}", count or suite.seeds)
        both = f"{file}: the suite's name and that of members.{member_name} together"
        check_room(both, len(name + member_name), seed_configs[-1].run.name)
        plans[member_name] = _Plan(member, seed_configs)
    if not plans:
        raise ConfigError(f"{file}: every member is left out; pass their folders as --data NAME=FOLDER")

    path = config.run.folder / f"{name}-suite.json"
    for number, (member_name, plan) in enumerate(plans.items(), start=1):
        asks = {"split": plan.member.split, "slice": plan.member.slice}
        say(f"member {number} of {len(plans)}: {member_name}, {asks['split']}, slice {asks['slice']}")
        try:
            with system_errors():
                members[member_name] = asks | _run_member(plan)
        except Exception as error:  # Any error at all, because the members after this one may be hours of work.
            if signals.received():
                raise
            known_error = isinstance(error, M3CSRError)
            members[member_name] = asks | {"failed": str(error) if known_error else f"{type(error).__name__}: {error}"}
            say(f"{member_name} has failed: {members[member_name]['failed']}")
            if not known_error:
                say(traceback.format_exc())
        finally:
            # Without this, the graphs of all earlier runs would stay in memory.
            tf.keras.backend.clear_session()
            gc.collect()
        in_order = {one: members[one] for one in suite.members if one in members}
        tree = {"suite": name, "seeds": count or suite.seeds, "settings": [*suite.settings, *overrides]}
        # The file is written after each member, so that results survive a kill.
        write_json(path, tree | {"worst": results.worst(in_order), "members": in_order})
    say(results.LEGEND)
    for one, found in in_order.items():
        if "metrics" in found:
            console.print(results.table(one, found))
    for one, found in in_order.items():
        for what in ("left_out", "failed"):
            if what in found:
                say(f"{one} {'is left out' if what == 'left_out' else 'has failed'}: {found[what]}")
    say(results.in_words(results.worst(in_order)))
    say(f"all figures, seed by seed: {path}")
    failed = [one for one, found in in_order.items() if "failed" in found]
    if failed:
        raise RunError(f"{len(failed)} of {len(plans)} members of the suite have failed: {', '.join(failed)}")
    return path


def _given(folders: Sequence[str], suite: Suite) -> dict[str, Path]:
    """Returns data set -> folder, from the options --data."""
    given = {}
    for one in folders:
        name, _, folder = one.partition("=")
        if name not in suite.data or not folder:
            names = ", ".join(suite.data) or "none"
            raise ConfigError(f"--data {shortened(one)}: expected NAME=FOLDER with a data set of the suite ({names})")
        given[name] = Path(folder)
    return given


def _base(
    file: Path,
    suite: Suite,
    name: str,
    member: Member,
    folders_of_data: Mapping[str, Path | None],
    overrides: Sequence[str],
) -> Config:
    """Returns a member's configuration without the name and seed of a run."""
    # The folder is written as JSON, because YAML would read some names of folders as numbers or booleans.
    folder = [] if member.data is None else [f"data.path={json.dumps(str(folders_of_data[member.data]))}"]
    settings = [*suite.settings, *member.settings, *folder, *overrides]
    try:
        return configuration.load(None if member.config is None else file.parent / member.config, settings)
    except ConfigError as error:
        raise ConfigError(f"{file}: members.{name}: {error}") from None


def _of_seeds(base: Config, name: str, count: int) -> list[Config]:
    """Returns a configuration for each seed; only the first evaluates baselines, the tuned ones if none are named."""
    wanted = "tuned" if base.evaluation.baselines is None else base.evaluation.baselines
    configs = []
    for seed in range(count):
        run = base.run.model_copy(update={"name": f"{name}-seed{seed}", "seed": seed})
        evaluation = base.evaluation.model_copy(update={"baselines": () if seed else wanted})
        configs.append(base.model_copy(update={"run": run, "evaluation": evaluation}))
    return configs


def _run_member(plan: _Plan) -> dict[str, Any]:
    """Trains and evaluates a member, and returns what `results.summarise_member` makes of it."""
    for seed_config in plan.seed_configs:
        run_files.check_run(seed_config)
    outcomes: list[Evaluation] = []
    trainings: list[dict[str, Any]] = []
    baselines: dict[str, Evaluation] = {}
    for seed_config in plan.seed_configs:
        say(f"{seed_config.run.name}: run {seed_config.run.seed + 1} of {len(plan.seed_configs)}")
        share_prepared(plan.seed_configs[0], seed_config)
        trained = train(seed_config)
        evaluated = evaluate_systems(trained, plan.member.split)
        trainings.append(trained.finished)
        outcomes.append(evaluated.pop(trained.model.title))
        baselines |= {titled(name): evaluation for name, evaluation in evaluated.items()}
        del trained
        tf.keras.backend.clear_session()
        gc.collect()
    return results.summarise_member(outcomes, baselines, plan.member.slice, trainings, leave_out=[titled(CEILING)])
