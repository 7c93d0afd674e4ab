"""A training run over a log that is read in shards: throughput from first to last, and memory.

python benchmarks/sharded_training.py                                       4 million clicks
python benchmarks/sharded_training.py --clicks 106_000_000 --users 5_000_000 --items 1_000_000 --folder FOLDER

The log is benchmarks/large_log.py's, the settings pipelines/configs/large_log.yaml's, the run pipelines/train.py's: the
figures are those of its own log, runs/NAME/logs/throughput.csv. Memory is that of the whole process; embedding tables,
their moments and averages are part of it and given beside.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from figures import Figure, report
from large_log import write_log

from m3csr_tf import config as configuration
from m3csr_tf.data.prepared import Prepared

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "pipelines" / "configs" / "large_log.yaml"
INTERVALS = 20
"""Validations of an epoch."""


def main(
    clicks: Annotated[int, typer.Option(help="Rows of the log.")] = 4_000_000,
    users: Annotated[int, typer.Option(help="Users.")] = 200_000,
    items: Annotated[int, typer.Option(help="Videos.")] = 40_000,
    shards: Annotated[int, typer.Option(help="Shards, about.")] = 100,
    window: Annotated[float, typer.Option(help="Share of the log in a window.")] = 0.08,
    folder: Annotated[Path | None, typer.Option(help="For log and run, which stay; else they go.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="200,000 clicks.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Train an epoch on shards."""
    if quick:
        clicks, users, items = 200_000, 10_000, 5_000
    with tempfile.TemporaryDirectory() as scratch:
        place = folder or Path(scratch)
        write_log(place / "log", clicks=clicks, users=users, items=items)
        settings = [
            f"data.path={place / 'log'}",
            f"run.folder={place / 'runs'}",
            "data.in_memory_rows=0",
            f"data.shard_clicks={clicks // shards}",
            f"training.window_clicks={int(clicks * window)}",
        ]
        if quick:
            settings += ["training.batch_size=1024"]
        config = configuration.load(CONFIG, settings)
        steps = int(clicks * config.split.ratios[0] / config.training.batch_size)
        settings += [f"training.max_steps={steps}", f"training.patience={steps}"]
        settings += [f"training.evaluate_every={max(1, steps // INTERVALS)}"]
        command = [sys.executable, str(ROOT / "pipelines" / "train.py"), "--config", str(CONFIG), *settings]
        subprocess.run(command, check=True, cwd=ROOT)
        run = configuration.load(CONFIG, settings).run_folder
        report(f"training on shards, {clicks:,} clicks", _figures(run, config.model.dim), json_path)


def _figures(run: Path, dim: int) -> list[Figure]:
    rate = pd.read_csv(run / "logs" / "throughput.csv")
    rates = rate["examples_per_second"].tolist()
    quarter = max(1, len(rates) // 4)
    prepared = Prepared.open(run / "prepared")
    rows = len(prepared.users) + len(prepared.items)
    table = rows * dim * 4 / 2**30
    first, last = sorted(rates[:quarter]), sorted(rates[-quarter:])
    return [
        Figure("training, between validations", "examples/s", rates, setting={"shards": len(prepared.train_shards)}),
        Figure(
            "last quarter of the epoch",
            "examples/s",
            rates[-quarter:],
            "first quarter",
            [last[len(last) // 2] / first[len(first) // 2]],
        ),
        Figure("resident memory of the process", "GiB", rate["resident_gib"].tolist()),
        Figure("embedding tables", "GiB", [table]),
        Figure("embedding tables with moments and averages", "GiB", [4 * table]),
    ]


if __name__ == "__main__":
    typer.run(main)
