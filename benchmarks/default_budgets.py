"""What the defaults resolve to at several sizes of a log, by the functions that training and evaluation ask.

python benchmarks/default_budgets.py
python benchmarks/default_budgets.py --clicks 59541 --items 6710

Clicks are training clicks. Users of a validation and of an evaluation are the most that are drawn; a smaller split has
all of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from m3csr_tf import config as configuration
from m3csr_tf.config import Config, IalsConfig
from m3csr_tf.evaluation.user_draw import affordable_users
from m3csr_tf.graph.ials import tries_ials
from m3csr_tf.training.budget import Budget, validation_users

_WIDTH = 130

SIZES = ((8_000, 2_000), (800_000, 20_000), (8_000_000, 200_000), (80_000_000, 1_000_000))
"""Training clicks and items: four fifths of logs of ten thousand, one, ten and a hundred million clicks."""


def main(
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings, e.g. training.batch_size=4096.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    clicks: Annotated[
        int | None, typer.Option(min=1, help="Training clicks of one log, instead of four sizes.")
    ] = None,
    items: Annotated[int, typer.Option(min=1, help="Its items.")] = 10_000,
) -> None:
    """Print a table of the resolved numbers."""
    settings = configuration.load(config, overrides or [])
    Console(width=_WIDTH).print(table(settings, SIZES if clicks is None else ((clicks, items),)))


def table(config: Config, sizes: tuple[tuple[int, int], ...]) -> Table:
    """A row a size."""
    lines = []
    for clicks, items in sizes:
        budget = Budget.of(config.training, clicks)
        lines.append(
            {
                "clicks": f"{clicks:,}",
                "items": f"{items:,}",
                "epochs": f"{budget.epochs:.3g}",
                "steps": f"{budget.steps:,}",
                "validation every": f"{budget.evaluate_every:,}",
                "patience": f"{budget.patience:,}",
                "its users": f"{validation_users(config, clicks, items):,}",
                "evaluated users": f"{affordable_users(items):,}",
                "implicit ALS": "tried" if tries_ials(clicks, items, IalsConfig()) else "not tried",
            }
        )
    result = Table(title=f"steps of {config.training.batch_size:,} examples", title_justify="left")
    for heading in lines[0]:
        result.add_column(heading, justify="right")
    for line in lines:
        result.add_row(*line.values())
    return result


if __name__ == "__main__":
    typer.run(main)
