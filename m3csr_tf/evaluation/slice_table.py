"""An evaluation as a table on the console: a row for each slice."""

from __future__ import annotations

from rich.table import Table

from m3csr_tf.evaluation import metrics
from m3csr_tf.evaluation.report import Evaluation, Slice


def table(system: str, evaluation: Evaluation, at: int = 20) -> Table:
    """Returns a table of Recall and NDCG with 95% intervals, one row for each slice; a sample is noted in the title.

    Where clicks differ in weight, Recall by weight is beside them.
    """
    shown = {f"Recall@{at}": metrics.name(metrics.RECALL, at), f"NDCG@{at}": metrics.name(metrics.NDCG, at)}
    by_weight = metrics.name(metrics.WEIGHTED_RECALL, at)
    weighted = any(by_weight in part.values for part in evaluation.slices.values())
    filled = {name: part for name, part in evaluation.slices.items() if len(part.users)}
    result = Table("slice", title=f"{system}{''.join(map(_drawn, filled.values()))}", title_justify="left")
    for heading in shown:
        result.add_column(heading, justify="right")
        result.add_column("95%", justify="right", style="dim")
    if weighted:
        result.add_column("by weight", justify="right")
    result.add_column("users", justify="right")
    for name, part in filled.items():
        cells = [cell for metric in shown.values() for cell in _cells(part, metric)]
        if weighted:
            cells.append(_cells(part, by_weight)[0])
        result.add_row(name, *cells, f"{len(part.users):,}")
    return result


def _drawn(part: Slice) -> str:
    """Returns a note on the sample of users, or "" if the slice holds all users."""
    drawn = part.of is not None and part.of > len(part.users)
    return f", {len(part.users):,} of {part.of:,} users" if drawn else ""


def _cells(part: Slice, metric: str) -> tuple[str, str]:
    ends = part.intervals.get(metric)
    return f"{part.mean(metric):.4f}", "" if ends is None else f"{ends[0]:.4f}-{ends[1]:.4f}"
