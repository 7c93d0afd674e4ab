"""`m3csr similar`: prints the nearest items of one item, or writes those of many items as a batch job."""

from __future__ import annotations

from typing import Annotated

import typer

from m3csr_tf.cli.options import ConfigOption, Overrides, with_shard
from m3csr_tf.cli.run_verb import run_verb


def similar(
    config: ConfigOption = None,
    overrides: Overrides = None,
    item: Annotated[
        str | None,
        typer.Option(
            help="Print the items nearest to this one, of the release or of similar.items; without it, make the lists "
            "of many as a job.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --item: print JSON (docs/similar.md).")] = False,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Make the I-th of N shares alone; the same as similar.shard."),
    ] = None,
) -> None:
    """Write the nearest items of each item of similar.items, or of the release; continue a job that was killed."""
    run_verb("similar", config, with_shard(overrides, "similar", shard), item, as_json, without_data=True)
