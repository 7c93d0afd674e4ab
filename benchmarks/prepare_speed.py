"""Preparing a log in parts, on the disk: rows a second, and memory at two lengths of the log; and tables of ids.

python benchmarks/prepare_speed.py
python benchmarks/prepare_speed.py --clicks 106_000_000 --users 5_000_000 --items 1_000_000 --folder FOLDER

The logs are benchmarks/large_log.py's, one four times as long as the other, of the same users and items; each is
prepared in a process of its own with the settings of pipelines/configs/large_log.yaml, as if nothing fitted in memory.
Ids are looked up in batches of 100,000, a third of them unknown, beside a pandas index of Python strings.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import typer
from figures import Figure, compared, in_turn, peak_gib, report, resident_gib
from large_log import write_log

from m3csr_tf import config as configuration
from m3csr_tf.ids import FIRST_ROW, UNKNOWN_ROW, IdTable
from m3csr_tf.prepare import prepare

CONFIG = Path(__file__).parents[1] / "pipelines" / "configs" / "large_log.yaml"
LOOKED_UP = 100_000


def main(
    clicks: Annotated[int, typer.Option(help="Rows of the longer log.")] = 20_000_000,
    users: Annotated[int, typer.Option(help="Users.")] = 500_000,
    items: Annotated[int, typer.Option(help="Videos.")] = 100_000,
    ids: Annotated[int, typer.Option(help="Ids of the table.")] = 10_000_000,
    rounds: Annotated[int, typer.Option(help="Batches of ids.")] = 9,
    folder: Annotated[Path | None, typer.Option(help="For logs and prepared data, which stay; else they go.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A million clicks, a million ids.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
    alone: Annotated[str | None, typer.Option(hidden=True, help="Measure only this; print JSON.")] = None,
) -> None:
    """Measure prepare and tables of ids."""
    if alone is not None:
        what, place, amount = json.loads(alone)
        print(json.dumps(_prepared(Path(place), amount) if what == "log" else _table(what, amount)))
        return
    if quick:
        clicks, users, items, ids, rounds = 1_000_000, 40_000, 10_000, 1_000_000, 3
    with tempfile.TemporaryDirectory() as scratch:
        figures = _of_logs(folder or Path(scratch), clicks, users, items)
    report(f"prepare in parts, {clicks:,} clicks", figures + _of_ids(ids, rounds), json_path)


def _of_logs(place: Path, clicks: int, users: int, items: int) -> list[Figure]:
    figures: list[Figure] = []
    for rows in (clicks // 4, clicks):
        log = place / f"{rows}"
        write_log(log, clicks=rows, users=users, items=items)
        seconds, peak, before = _alone("log", log, clicks // 40)
        setting = {"users": users, "items": items, "clicks a bucket": clicks // 40}
        for name, unit, value in (
            ("prepare, {} rows", "rows/s", rows / seconds),
            ("peak memory, {} rows", "GiB", peak),
            ("of it before the start, {} rows", "GiB", before),
        ):
            shorter = [figure for figure in figures if figure.name == name.format(f"{clicks // 4:,}")]
            compared_with, ratios = (shorter[0].name, [value / shorter[0].median]) if shorter else (None, [])
            figures.append(Figure(name.format(f"{rows:,}"), unit, [value], compared_with, ratios, setting))
    return figures


def _of_ids(count: int, rounds: int) -> list[Figure]:
    figures = []
    for name in ("id table", "pandas index"):
        seconds, gibibytes = _alone(name, Path(), count)
        for what, unit, value in (("load", "s", seconds), ("memory", "GiB", gibibytes)):
            compared_with = f"pandas index: {what}, {count:,} ids" if name == "id table" else None
            figures.append(Figure(f"{name}: {what}, {count:,} ids", unit, [value], compared_with))
    for place in (0, 1):
        mine, other = figures[place], figures[place + 2]
        mine.ratios.append(mine.median / other.median)
    return figures + _looked_up(1000, rounds) + _looked_up(count, rounds)


def _looked_up(count: int, rounds: int) -> list[Figure]:
    known = _ids(count)
    table, index = IdTable(known), pd.Index(known.to_numpy(zero_copy_only=False))
    numbers = np.random.default_rng(0).integers(0, count * 3 // 2, LOOKED_UP)
    wanted = np.array([f"user-{number}" for number in numbers], object)
    arrow = pa.array(wanted)
    assert (table.rows(arrow) == np.where(numbers < count, index.get_indexer(wanted) + FIRST_ROW, UNKNOWN_ROW)).all()
    compared_with = f"pandas index of {count:,}: look-ups"
    work = {
        f"id table of {count:,}: look-ups": lambda: table.rows(wanted),
        f"id table of {count:,}: look-ups of Arrow strings": lambda: table.rows(arrow),
        compared_with: lambda: index.get_indexer(wanted),
    }
    return compared(LOOKED_UP, "ids/s", in_turn(rounds, **work), compared_with, {})


def _alone(*arguments: object) -> list[float]:
    """What a process of its own prints."""
    said = json.dumps([*map(str, arguments[:-1]), arguments[-1]])
    command = [sys.executable, __file__, "--alone", said]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


def _prepared(log: Path, bucket: int) -> tuple[float, float, float]:
    """Seconds of prepare, peak memory, memory before."""
    settings = [f"data.path={log}", f"run.folder={log}", "data.in_memory_rows=0", f"data.shard_clicks={bucket}"]
    config = configuration.load(CONFIG, settings)
    before, started = resident_gib(), time.perf_counter()
    prepare(config)
    return time.perf_counter() - started, peak_gib(), before


def _table(kind: str, count: int) -> tuple[float, float]:
    """Seconds of making a table of ids from an Arrow column, as parquet gives it, and memory held beyond that."""
    known = _ids(count)
    pa.default_memory_pool().release_unused()  # What making them took must not count as already held.
    before, started = resident_gib(), time.perf_counter()
    if kind == "id table":
        table = IdTable(known)
        table.rows(["user-0"])
    else:
        index = pd.Index(known.to_numpy(zero_copy_only=False))
        index.get_indexer(["user-0"])
    return time.perf_counter() - started, resident_gib() - before


def _ids(count: int) -> pa.Array:
    numbers = pc.cast(pa.array(np.random.default_rng(1).permutation(count)), pa.string())
    return pc.binary_join_element_wise("user-", numbers, "")


if __name__ == "__main__":
    typer.run(main)
