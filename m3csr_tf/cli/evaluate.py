"""`m3csr evaluate`: evaluates the run's model, or lists or vectors of another system."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from m3csr_tf.cli.options import ConfigOption, Overrides, Split
from m3csr_tf.cli.run_verb import run_verb


def evaluate(
    config: ConfigOption = None,
    overrides: Overrides = None,
    lists: Annotated[
        Path | None,
        typer.Option(help="Judge these lists instead: a table of user_id, item_id, rank or score.", show_default=False),
    ] = None,
    vectors: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="USERS ITEMS", help="Judge these vectors instead: tables of an id and a vector.", show_default=False
        ),
    ] = None,
    split: Annotated[
        Split | None,
        typer.Option("--split", help="Whose clicks judge lists or vectors; test by default.", show_default=False),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of their result, runs/RUN/evaluations/NAME.json.", show_default=False),
    ] = None,
) -> None:
    """Rank the whole catalogue for validation and test users, beside baselines; write runs/NAME/metrics.json.

    With --lists or --vectors, evaluate another system by the same metrics, on the same users.
    """
    if any(one is not None for one in (lists, vectors, split, name)):
        judged_by = (Split.test if split is None else split).value
        run_verb("evaluate_given", config, overrides, lists, vectors, judged_by, name)
    else:
        run_verb("evaluate", config, overrides)
