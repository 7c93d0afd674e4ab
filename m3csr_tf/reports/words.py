"""What the report and the model card call things, and how both show a figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from m3csr_tf.reports.document import Number
from m3csr_tf.reports.run_files import RunFiles

_SPLITS = {
    "random": "interactions split at random",
    "time": "interactions split by time",
    "given": "split as the data say",
}


def titled(system: str) -> str:
    """What tables call a baseline."""
    return "truth (ceiling)" if system == "truth" else system


def describe_split(run: RunFiles) -> str:
    """How the log was split, as part of a sentence."""
    kind = str(run.prepared.manifest["split"])
    return _SPLITS.get(kind, f"split by {kind}")


def figure_of(tree: Mapping[str, Any], metric: str, digits: int = 4) -> Number:
    """A metric of a slice of metrics.json, with its interval if there is one."""
    return Number.of(tree.get(metric), digits, tree.get("ci", {}).get(metric))
