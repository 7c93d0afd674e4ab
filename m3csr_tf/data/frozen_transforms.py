"""The prepared data of another run whose scaling, centres and bins a run takes over, by warm start or frozen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError, RunError

FITTED_SECTIONS = ("content", "clusters", "popularity")
"""The sections that say what is fitted; a run and the one that it starts from must agree on them."""


def fitted_before(config: Config) -> Prepared | None:
    """The prepared data of the run whose transformations this run is to take, None if it fits its own.

    `training.warm_start` or `clusters.frozen_from` names it.

    Raises:
      RunError: it is missing, or has other modalities or fitted settings.
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
    del settings["clusters"]["frozen_from"]  # Whoever fitted them, they are taken as they are.
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
    """Refuses content, modality -> vectors [items, width], that the earlier transformations do not fit.

    Raises:
      RunError: a modality has another width.
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
