"""What MLflow shows of a run as parameters and metrics, read from the files of its folder."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from m3csr_tf.training.run_files import CONFIG_FILE, LOGS
from m3csr_tf.util.documents import parse_yaml
from m3csr_tf.util.files import regular

LOGGED_BY_STEP = {"validation": f"{LOGS}/validations.csv", "throughput": f"{LOGS}/throughput.csv"}
"""Prefix of metrics -> the file in a run's folder whose columns they are, by its column "step"."""
_STEP = "step"
_NOT_IN_NAMES = re.compile(r"[^\w .:-]", re.ASCII)
"""What MLflow takes in no name; a slash makes folders of names, which only this package's own nesting may."""
_ENDS = ("low", "high")


def parameters(folder: Path) -> dict[str, str]:
    """The resolved settings of a run, "section.name" -> value; lists and mappings as JSON.

    They are those of config.yaml, in which secrets are `***`.
    """
    tree = parse_yaml(regular(folder / CONFIG_FILE).read_text(encoding="utf-8"))
    return {
        f"{section}.{name}": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for section, settings in tree.items()
        for name, value in settings.items()
    }


def by_step(folder: Path) -> dict[str, dict[int, float]]:
    """What the training logs hold so far, metric -> step -> value; what is not finite is left out."""
    found: dict[str, dict[int, float]] = {}
    for prefix, name in LOGGED_BY_STEP.items():
        if not (folder / name).exists():
            continue
        with regular(folder / name).open(encoding="utf-8", newline="") as stream:
            for line in csv.DictReader(stream):
                step = int(float(line.pop(_STEP)))
                for column, text in line.items():
                    if math.isfinite(float(text)):
                        found.setdefault(f"{prefix}/{metric_name(column)}", {})[step] = float(text)
    return found


def of_tree(tree: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of metrics.json, "test/all/recall_at_20" -> value; of an interval "low" and "high".

    Other lists, texts, and what is not finite are left out. Names that differ only in letters which MLflow does not
    take get a number behind them.
    """
    found: dict[str, float] = {}
    for path, value in _leaves(tree, ()):
        name = "/".join(map(metric_name, path))
        while name in found:
            stem, _, number = name.rpartition("_")
            name = f"{stem}_{int(number) + 1}" if number.isdigit() and stem in found else f"{name}_2"
        found[name] = value
    return found


def metric_name(name: str) -> str:
    """A name as MLflow takes it: recall@20 is recall_at_20, and other letters that it does not take are "_"."""
    taken = _NOT_IN_NAMES.sub("_", name.replace("@", "_at_"))
    return taken if taken.strip(". ") else "_" * max(1, len(taken))


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _leaves(part, (*path, str(name)))
    elif isinstance(value, list) and "ci" in path and len(value) == len(_ENDS):
        for end, part in zip(_ENDS, value, strict=True):
            yield from _leaves(part, (*path, end))
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield path, float(value)
