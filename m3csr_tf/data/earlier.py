"""The prepared data of the run that another one starts from, whose scaling, centres and bins it takes over."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError, RunError

FITTED_SECTIONS = ("content", "clusters", "popularity")
"""The sections that say what is fitted; a run and the one that it starts from must agree on them."""


def fitted_before(config: Config) -> Prepared | None:
    """The prepared data of the run that `training.warm_start` names, whose transformations this run is to take.

    Raises:
      RunError: it is missing, or has other modalities or fitted settings.
    """
    folder = config.warm_start_folder
    if folder is None:
        return None
    try:
        before = Prepared.open(folder / "prepared")
    except InputError as error:
        raise RunError(f"training.warm_start={folder.name}: {error}") from None
    names = config.data.modality_names
    if before.modalities != names:
        raise RunError(
            f"training.warm_start={folder.name}: that run has the modalities {', '.join(before.modalities)}, this one "
            f"{', '.join(names)} (data.modalities); name the same in the same order, or train without warm start"
        )
    settings = config.model_dump(mode="json", include=set(FITTED_SECTIONS))
    found = [
        f"{section}.{name}: {before.manifest['config'][section].get(name)} -> {value}"
        for section in FITTED_SECTIONS
        for name, value in settings[section].items()
        if before.manifest["config"][section].get(name) != value
    ]
    if found:
        raise RunError(
            f"training.warm_start={folder.name}: that run was prepared with other settings ({'; '.join(found)}), and "
            "its scaling, clusters and bins are kept; pass the same, or train without warm start"
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
                f"training.warm_start={config.training.warm_start}: that run's {name} vectors have width {width}, the "
                f"catalogue's {vectors.shape[1]}; give vectors of the same model, or train without warm start"
            )
