"""The data of an experiment's figures, as plain tables, each of which is a CSV file in figures/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from m3csr_tf.data.prepared import Prepared
from m3csr_tf.evaluation import metrics
from m3csr_tf.experiments.comparison.gathering import THROUGHPUT, VALIDATIONS, Run, SystemRuns
from m3csr_tf.util.files import write_text

LENGTHS, POPULARITY, TRAINING, QUALITY = "recall_by_length", "recall_by_popularity", "training_curves", "quality_time"


def by_length(systems: Mapping[str, SystemRuns], cell: str) -> pd.DataFrame:
    """Returns Recall@N and NDCG@N of each system, averaged over users and seeds: cell, system, n, recall, ndcg."""
    rows = []
    for title, system in systems.items():
        figures = [run.figures for run in system.runs]
        lengths = sorted(int(name.partition("@")[2]) for name in figures[0] if name.startswith(f"{metrics.RECALL}@"))
        for n in lengths:
            found = {
                metric: float(np.mean([one[metrics.name(metric, n)] for one in figures]))
                for metric in (metrics.RECALL, metrics.NDCG)
            }
            rows.append({"cell": cell, "system": title, "n": n, **found})
    return pd.DataFrame(rows)


def by_popularity(systems: Mapping[str, SystemRuns], prepared: Prepared, cell: str) -> pd.DataFrame:
    """Returns which held-out clicks the top 20 contain, by the popularity bin of the clicked item.

    Returns:
      Columns cell, system, bin (0 without clicks), low and high (clicks or views of the bin's items, high None for the
      last), clicks (number of held-out clicks), found (the share of them that is found, averaged over seeds; NaN for a
      bin without a click).
    """
    bins, count = np.asarray(prepared.bins), prepared.popularity.count
    edges = [0, *(int(edge) for edge in prepared.popularity.edges)]
    rows = []
    for title, system in systems.items():
        counted = [run.test.by_item for run in system.runs if run.test.by_item is not None]
        if not counted:
            continue
        clicks = np.bincount(bins, counted[0].held_out, minlength=count)
        hits = np.mean([np.bincount(bins, one.found, minlength=count) for one in counted], axis=0)
        for position in range(count):
            rows.append(
                {
                    "cell": cell,
                    "system": title,
                    "bin": position,
                    "low": edges[position],
                    "high": edges[position + 1] - 1 if position + 1 < count else None,
                    "clicks": int(clicks[position]),
                    "found": hits[position] / clicks[position] if clicks[position] else np.nan,
                }
            )
    return pd.DataFrame(rows)


def training(systems: Mapping[str, SystemRuns], cell: str) -> pd.DataFrame:
    """Returns the validations of every training: columns cell, system, seed, step, loss, recall@20, ndcg@20."""
    tables = []
    for title, system in systems.items():
        for run in system.runs:
            log = run.log(VALIDATIONS)
            if log is not None:
                log.insert(0, "cell", cell)
                log.insert(1, "system", title)
                log.insert(2, "seed", run.seed)
                tables.append(log)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def quality_time(systems: Mapping[str, SystemRuns], cell: str) -> pd.DataFrame:
    """Returns validation Recall@20 against the seconds of training until then, for the first seed of each system.

    Seconds are steps times batch size divided by the logged speed; validations and the initialisation are not included.

    Returns:
      Columns cell, system, seconds, quality.
    """
    tables = []
    for title, system in systems.items():
        points = _by_time(system.runs[0])
        if points is not None:
            points.insert(0, "cell", cell)
            points.insert(1, "system", title)
            tables.append(points)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _by_time(run: Run) -> pd.DataFrame | None:
    validations, speeds = run.log(VALIDATIONS), run.log(THROUGHPUT)
    if validations is None or speeds is None or not (speeds["examples_per_second"] > 0).all():
        return None
    steps = speeds["step"].to_numpy()
    batch = run.config.training.batch_size
    taken = np.cumsum(np.diff(steps, prepend=0) * batch / speeds["examples_per_second"].to_numpy())
    at = np.interp(validations["step"], np.concatenate([[0], steps]), np.concatenate([[0.0], taken]))
    return pd.DataFrame({"seconds": at, "quality": validations["recall@20"]})


def write(tables: Mapping[str, Sequence[pd.DataFrame]], folder: Path) -> dict[str, pd.DataFrame]:
    """Writes each table, with its parts from all cells together, as <name>.csv; empty tables are left out.

    Returns:
      Name -> table, for the tables that were written.
    """
    written = {}
    for name, parts in tables.items():
        filled = [part for part in parts if len(part)]
        if filled:
            written[name] = pd.concat(filled, ignore_index=True)
            write_text(folder / f"{name}.csv", written[name].to_csv(index=False))
    return written
