"""Draws the settings that the trials of a search try, by a seed, the same number for every model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from m3csr_tf.config import Config
from m3csr_tf.errors import ConfigError
from m3csr_tf.experiments.sweep.space import SearchedValues, number_of

_TRIES = 200
"""Number of draws for a trial whose settings must differ from those before."""


def draws(
    search: Mapping[str, SearchedValues], base: Config, trials: int, name: str, seed: int
) -> list[dict[str, Any]]:
    """Draws the settings of each trial, dotted name -> value; the first trial changes none of the model's settings.

    A draw depends on the seed, the name of the model and the position of the trial alone, so that more trials, or other
    models, do not change the trials before.

    Args:
      search: the settings that vary; may be empty for a single trial.
      base: the configuration that the trials vary.
      trials: number of trials.
      name: the name of the model.
      seed: the seed of the experiment's searches.

    Raises:
      ConfigError: there are fewer different settings than trials.
    """
    found: list[dict[str, Any]] = [{}]
    for position in range(1, trials):
        key = hashlib.sha256(f"{seed} {name} {position}".encode()).digest()
        random = np.random.default_rng(int.from_bytes(key[:16], "little"))
        for _ in range(_TRIES):
            drawn = {setting: _draw(space, number_of(base, setting), random) for setting, space in search.items()}
            changed = any(_value(base, setting) != value for setting, value in drawn.items())
            if changed and drawn not in found:
                found.append(drawn)
                break
        else:
            raise ConfigError(
                f"models.{name}.search has fewer than {trials} different settings; every model is tried as often, so "
                "give it more values, or lower trials"
            )
    return found


def _draw(setting: SearchedValues, number: type[int] | type[float] | None, random: np.random.Generator) -> Any:
    if setting.values is not None:
        return setting.values[int(random.integers(len(setting.values)))]
    low, high = setting.ends
    if setting.step is not None:
        steps = round((high - low) / setting.step)
        value = low + setting.step * int(random.integers(steps + 1))
        return round(value) if number is int else float(value)
    if setting.log:
        low, high = math.log(low), math.log(high)
    value = float(random.uniform(low, high))
    value = math.exp(value) if setting.log else value
    if number is int:
        return min(max(round(value), math.ceil(setting.ends[0])), math.floor(setting.ends[1]))
    # Three significant digits, so that what is printed is exactly what was tried.
    return float(f"{value:.3g}")


def _value(base: Config, name: str) -> Any:
    found: Any = base
    for part in name.split("."):
        found = getattr(found, part)
    return found
