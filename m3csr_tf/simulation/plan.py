"""Reads the file of a simulation, and checks it before anything is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from m3csr_tf import config as configuration
from m3csr_tf.config import Config, WorldConfig
from m3csr_tf.config.problems import of_file
from m3csr_tf.errors import ConfigError
from m3csr_tf.simulation.settings import SimulationConfig, SimulationFile, SystemConfig
from m3csr_tf.util.documents import parse_yaml
from m3csr_tf.util.names import check_room, is_plain
from m3csr_tf.util.quoting import quoted

_OWN = "simulation."
"""Prefix of the overrides that belong to the simulation and not to the settings of the systems."""
_QUICK = "-quick"


@dataclass(frozen=True)
class Plan:
    """A simulation with all of its settings resolved.

    Attributes:
      folder: the folder of the simulation, <run.folder>/<name>.
      simulation: the settings of the simulation itself.
      world: the world in which all arms live.
      systems: name -> the entry of the system, in the order of the file.
      configs: name -> settings of the trained systems.
      control: the name of the system with which the others are compared.
    """

    folder: Path
    simulation: SimulationConfig
    world: WorldConfig
    systems: dict[str, SystemConfig]
    configs: dict[str, Config]
    control: str

    def identity(self) -> dict[str, Any]:
        """Returns everything on which the results depend, as JSON."""
        return {
            "simulation": self.simulation.model_dump(mode="json", exclude={"bootstrap"}),
            "world": self.world.model_dump(mode="json"),
            "systems": {
                name: system.model_dump(mode="json", include={"kind", "warm_start"}) | {"settings": self._print(name)}
                for name, system in self.systems.items()
            },
        }

    def _print(self, name: str) -> str | None:
        """Returns a digest of everything on which the trained weights and released vectors of a system depend."""
        if name not in self.configs:
            return None
        config = self.configs[name]
        parts = [
            config.fingerprint(),
            config.fingerprint("exposure", "index", *(["cold"] if config.cold.is_set else [])),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_plan(file: Path, overrides: Sequence[str] = (), quick: bool = False) -> Plan:
    """Reads the file of a simulation.

    Args:
      file: a YAML file (`SimulationFile`).
      overrides: `simulation.NAME=VALUE` for the simulation itself, others for all systems; they are applied last.
      quick: whether to add the settings of `quick`, and "-quick" to the name.

    Raises:
      ConfigError: the file is missing or malformed, or a setting is invalid or contradicts the simulation.
    """
    tree = configuration.read_mapping(file, "simulation", "--config", "with systems")
    plan_file = _validated(file, tree)
    if quick and not plan_file.quick:
        raise ConfigError(f"{file}: has no settings for --quick; add them as quick: [section.name=value, ...]")
    given = [*(plan_file.quick if quick else ()), *overrides]
    plan_file = _validated(file, _with_own(tree, [one for one in given if one.startswith(_OWN)]))
    others = [*plan_file.settings, *(one for one in given if not one.startswith(_OWN))]
    base = configuration.load(None, others)
    if base.data.format != "world":
        raise ConfigError(
            f"{file}: data.format={base.data.format}, but people can be simulated in the synthetic world alone, whose "
            "utilities are known; leave data.format out"
        )
    if base.run.strategy == "multi_worker":
        raise ConfigError(f"{file}: run.strategy=multi_worker is for pipelines/train.py alone; leave it out")
    name = base.run.name if "name" in base.run.model_fields_set else (plan_file.name or file.stem) + _QUICK * quick
    if not is_plain(name):
        raise ConfigError(f"{file}: its name cannot name a folder; give the simulation a name, e.g. name: tonight")
    configs = {}
    for system, entry in plan_file.systems.items():
        if entry.kind == "release":
            check_room(f"{file}: systems.{system}", len(system), run_name(system, plan_file.simulation.days))
            configs[system] = _of_system(
                file, system, entry, plan_file.settings, others[len(plan_file.settings) :], base
            )
    control = plan_file.control or list(plan_file.systems)[-1]
    return Plan(
        base.run.folder / name, plan_file.simulation, base.data.world, dict(plan_file.systems), configs, control
    )


def run_name(system: str, night: int) -> str:
    """Returns the name of the run that a nightly job trains."""
    return f"{system}-night{night}"


def _of_system(
    file: Path, name: str, system: SystemConfig, shared: Sequence[str], last: Sequence[str], base: Config
) -> Config:
    try:
        path = None if system.config is None else file.parent / system.config
        config = configuration.load(path, [*shared, *system.settings, *last])
    except ConfigError as error:
        raise ConfigError(f"{file}: systems.{name}: {error}") from None
    if config.data != base.data:
        raise ConfigError(
            f"{file}: systems.{name}: its settings change section data, but all systems live in one world; set "
            "data.world under settings of the file, for all of them"
        )
    if config.training.warm_start is not None or config.clusters.frozen_from is not None:
        raise ConfigError(
            f"{file}: systems.{name}: training.warm_start and clusters.frozen_from name runs that the simulation has "
            "not made; pass warm_start: true to go on from night to night"
        )
    return config


def _with_own(tree: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Returns the file's tree with the values of `simulation.NAME=VALUE` in it."""
    own = dict(tree.get("simulation") or {})
    for override in overrides:
        key, equals, text = override.removeprefix(_OWN).partition("=")
        if not equals or not key:
            raise ConfigError(f"override {quoted(override)}: expected simulation.name=value, e.g. simulation.days=2")
        try:
            own[key] = parse_yaml(text)
        except ValueError as error:
            raise ConfigError(f"override {quoted(override)}: the value is not valid YAML ({error})") from None
    return tree | {"simulation": own} if own else tree


def _validated(file: Path, tree: dict[str, Any]) -> SimulationFile:
    try:
        return SimulationFile.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(of_file(error, file)) from None
