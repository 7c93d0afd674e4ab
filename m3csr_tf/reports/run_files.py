"""Reads the files of a finished run's folder from which a report is made; it changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m3csr_tf import columns
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.drift.comparison_file import COMPARISON_FILE, StoredComparison, read_comparison
from m3csr_tf.errors import RunError
from m3csr_tf.util.documents import parse_yaml
from m3csr_tf.util.files import regular
from m3csr_tf.util.stored import reading, stored_json

CONFIG, METRICS, FINISHED, VERSIONS = "config.yaml", "metrics.json", "finished.json", "versions.json"
VALIDATIONS, THROUGHPUT = "logs/validations.csv", "logs/throughput.csv"
FRONTIER, LISTS = "frontier.csv", "top_n"

_ROWS_OF_LISTS = 200_000
"""Largest number of rows of the lists that are read, from the first on."""


@dataclass(frozen=True)
class RunFiles:
    """The contents of a finished run's folder.

    Attributes:
      folder: the run's folder.
      model: the name of its model in tables.
      settings: config.yaml as a tree.
      settings_text: config.yaml as text.
      metrics: metrics.json.
      finished: finished.json.
      versions: versions.json; empty if it is missing.
      prepared: the prepared data of the run.
      validations: step, loss, a column for each metric, and standard_error_of_rise; None if nothing was validated.
      throughput: step, examples_per_second, resident_gib; None if the training logged no speed.
      frontier: frontier.csv; None if pipelines/frontier.py has not been run.
      comparison: comparison.json; None if pipelines/release.py compare has not been run.
      lists: the first lists of top_n, with the parts of their scores; None if there are none.
    """

    folder: Path
    model: str
    settings: dict[str, Any]
    settings_text: str
    metrics: dict[str, Any]
    finished: dict[str, Any]
    versions: dict[str, Any]
    prepared: Prepared
    validations: pd.DataFrame | None
    throughput: pd.DataFrame | None
    frontier: pd.DataFrame | None
    comparison: StoredComparison | None
    lists: pd.DataFrame | None

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.folder.name


def read_run(folder: Path, prepared: Prepared, model: str) -> RunFiles:
    """Reads the files of a run.

    Args:
      folder: the run's folder.
      prepared: its prepared data.
      model: the name of its model in tables.

    Raises:
      RunError: the run has not been evaluated, or a file is broken.
    """
    if not (folder / METRICS).exists():
        raise RunError(f"{folder}: the run has no {METRICS} to report; run pipelines/evaluate.py first")
    with reading(folder / CONFIG, "put it back", RunError):
        text = regular(folder / CONFIG).read_text(encoding="utf-8")
        settings = dict(parse_yaml(text))
    again = "run pipelines/evaluate.py again"
    metrics = stored_json(folder / METRICS, again, RunError)
    with reading(folder / METRICS, again, RunError):
        if not isinstance(metrics["test"], dict) or not isinstance(metrics["baselines"], dict):
            raise ValueError("it has no figures of the test split")
    versions = folder / VERSIONS
    return RunFiles(
        folder=folder,
        model=model,
        settings=settings,
        settings_text=text,
        metrics=metrics,
        finished=stored_json(folder / FINISHED, "run pipelines/train.py again", RunError),
        versions=stored_json(versions, "delete it", RunError) if versions.exists() else {},
        prepared=prepared,
        validations=_table(folder / VALIDATIONS),
        throughput=_table(folder / THROUGHPUT),
        frontier=_table(folder / FRONTIER),
        comparison=read_comparison(folder / COMPARISON_FILE),
        lists=_lists(folder / LISTS),
    )


def _table(path: Path) -> pd.DataFrame | None:
    """Reads a CSV file; returns None if it is missing or has no rows."""
    if not path.exists():
        return None
    with reading(path, "delete it", RunError):
        if not regular(path).stat().st_size:
            return None
        table = pd.read_csv(path)
    return None if table.empty else table


def _lists(folder: Path) -> pd.DataFrame | None:
    """Reads the first lists of the first part of top_n; returns None if no parquet file holds lists."""
    first = min(folder.glob("part-*.parquet"), default=None) if folder.is_dir() else None
    if first is None:
        return None
    with reading(first, "run pipelines/retrieve.py with retrieve.overwrite=true", RunError):
        blocks, rows = [], 0
        with pq.ParquetFile(regular(first)) as file:
            for block in file.iter_batches(batch_size=_ROWS_OF_LISTS // 4):
                blocks.append(block)
                rows += block.num_rows
                if rows >= _ROWS_OF_LISTS:
                    break
        lists = pa.Table.from_batches(blocks).to_pandas() if blocks else pd.DataFrame()
    if not {columns.USER_ID, columns.ITEM_ID, columns.RANK, columns.SCORE} <= {*lists} or lists.empty:
        return None
    return lists
