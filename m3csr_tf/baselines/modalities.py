"""The choices of modalities that content baselines try, and the standardisation of their content."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m3csr_tf.baselines.log import Log
from m3csr_tf.features.content import ContentScaler


def choices(log: Log) -> list[list[str]]:
    """Returns the choices of modalities: all of them together, and each alone."""
    names = list(log.content)
    return [names] if len(names) == 1 else [names, *([name] for name in names)]


def standardised(log: Log, modalities: Sequence[str]) -> np.ndarray:
    """Concatenates the content, standardised by dimension over the trained items, float32 [items, sum of widths].

    An item that lacks a modality has zeros in its place.
    """
    content = {name: log.content[name] for name in modalities}
    scaler = ContentScaler.fit("standard", content, np.flatnonzero(log.by_item))
    return np.concatenate([scaler.transform(name, raw) for name, raw in content.items()], axis=1)
