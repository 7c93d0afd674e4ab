"""Finds the run whose fitted scaling, cluster centres and popularity bins another run takes over instead of fitting.

A run takes them over by a warm start (`training.warm_start`) or by `clusters.frozen_from`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError, RunError

FITTED_SECTIONS = ("content", "clusters", "popularity")
"""Sections of the configuration that decide what is fitted. A run and the one it takes from must agree on them."""


def fitted_before(config: Config) -> Prepared | None:
    """Returns the prepared data of the run whose transformations this run takes over, or None if it fits its own.

    `training.warm_start` or else `clusters.frozen_from` names that run.

    Raises:
      RunError: that run's prepared data is missing or broken, or it has other modalities or other settings of the
        fitted sections.
    """
    name = config.training.warm_start or config.clusters.frozen_from
    if name is None:
        return None
    try:
        before = Prepared.open(config.run.folder / name / "prepared")
    except InputError as error:
        raise RunError(f"{_setting(config)}: {error}") from None
    names = config.data.modality_names
    if before.modalities != names:
        raise RunError(
            f"{_setting(config)}: that run has the modalities {', '.join(before.modalities)}, this one "
            f"{', '.join(names)} (data.modalities); name the same in the same order, or {_without(config)}"
        )
    settings = config.model_dump(mode="json", include=set(FITTED_SECTIONS))
    del settings["clusters"]["frozen_from"]  # It says who fitted the centres, not what they are.
    found = [
        f"{section}.{name}: {before.manifest['config'][section].get(name)} -> {value}"
        for section in FITTED_SECTIONS
        for name, value in settings[section].items()
        if before.manifest["config"][section].get(name) != value
    ]
    if found:
        raise RunError(
            f"{_setting(config)}: that run was prepared with other settings ({'; '.join(found)}), and "
            f"its scaling, clusters and bins are kept; pass the same, or {_without(config)}"
        )
    return before


def check_widths(config: Config, content: Mapping[str, np.ndarray], before: Prepared) -> None:
    """Refuses content vectors, modality -> [items, width], whose widths the earlier transformations do not fit.

    Raises:
      RunError: the vectors of a modality have another width than in the earlier run.
    """
    for name, vectors in content.items():
        width = before.content[name].shape[1]
        if vectors.shape[1] != width:
            raise RunError(
                f"{_setting(config)}: that run's {name} vectors have width {width}, the "
                f"catalogue's {vectors.shape[1]}; give vectors of the same model, or {_without(config)}"
            )


def _setting(config: Config) -> str:
    if config.training.warm_start is not None:
        return f"training.warm_start={config.training.warm_start}"
    return f"clusters.frozen_from={config.clusters.frozen_from}"


def _without(config: Config) -> str:
    return "train without warm start" if config.training.warm_start is not None else "let this run fit its own centres"
