"""Stores evaluations with the metrics of every user, so that systems of different runs can be compared user by user.

per_user.npz holds the arrays <system>/<split>/<slice>/users and <system>/<split>/<slice>/<metric>, and the counts by
item as <system>/<split>/by_item/<count>. Means, intervals and metrics of whole lists are in metrics.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from m3csr_tf.errors import RunError
from m3csr_tf.evaluation.lists import ByItem
from m3csr_tf.evaluation.report import Evaluation, Slice
from m3csr_tf.util.files import regular, replacing
from m3csr_tf.util.stored import reading

PER_USER_FILE = "per_user.npz"
STORED = ("recall@20", "precision@20", "ndcg@20", "weighted_recall@20", "weight@20")
"""Names of the metrics that are stored for every user."""
_BY_ITEM = "by_item"


def write(path: Path, evaluated: Mapping[str, Mapping[str, Evaluation]], metrics: Sequence[str] = STORED) -> None:
    """Writes evaluations to a file, which is replaced as a whole by renaming.

    Args:
      path: the path of the file.
      evaluated: system -> split -> evaluation.
      metrics: names of the metrics to store, as far as an evaluation has them.
    """
    arrays: dict[str, np.ndarray] = {}
    for system, splits in evaluated.items():
        for split, evaluation in splits.items():
            for name, part in evaluation.slices.items():
                array_key = f"{system}/{split}/{name}"
                arrays[f"{array_key}/users"] = part.users
                arrays |= {f"{array_key}/{metric}": part.values[metric] for metric in metrics if metric in part.values}
            if evaluation.by_item is not None:
                counts = asdict(evaluation.by_item)
                arrays |= {f"{system}/{split}/{_BY_ITEM}/{name}": values for name, values in counts.items()}
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def by_system(evaluated: Mapping[str, Mapping[str, Evaluation]]) -> dict[str, dict[str, Evaluation]]:
    """Converts split -> system -> evaluation to system -> split -> evaluation."""
    systems = dict.fromkeys(name for split_evaluations in evaluated.values() for name in split_evaluations)
    return {name: {split: found[name] for split, found in evaluated.items() if name in found} for name in systems}


def read(path: Path) -> dict[str, dict[str, Evaluation]]:
    """Reads system -> split -> evaluation; intervals and metrics of whole lists are not in the file.

    Raises:
      RunError: the file is missing or broken.
    """
    found: dict[str, dict[str, dict[str, dict[str, np.ndarray]]]] = {}
    with reading(path, "run pipelines/evaluate.py again", RunError):
        with np.load(regular(path), allow_pickle=False) as stored:
            for key in stored.files:
                system, split, name, what = key.rsplit("/", 3)
                found.setdefault(system, {}).setdefault(split, {}).setdefault(name, {})[what] = stored[key]
        return {
            system: {split: _evaluation(parts) for split, parts in splits.items()} for system, splits in found.items()
        }


def _evaluation(parts: Mapping[str, Mapping[str, np.ndarray]]) -> Evaluation:
    slices = {
        name: Slice(
            slice_arrays["users"], {metric: values for metric, values in slice_arrays.items() if metric != "users"}
        )
        for name, slice_arrays in parts.items()
        if name != _BY_ITEM
    }
    return Evaluation(slices, ByItem(**parts[_BY_ITEM]) if _BY_ITEM in parts else None)
