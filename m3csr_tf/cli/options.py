"""Options and arguments that several verbs take."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from m3csr_tf import columns

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="YAML file of settings; without one, all defaults.", show_default=False),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SECTION.NAME=VALUE",
        help="Settings that override the file, e.g. data.path=logs run.seed=3; `m3csr settings` lists all.",
        show_default=False,
    ),
]
WarmStart = Annotated[
    str | None,
    typer.Option(
        metavar="RUN", help="Go on from a finished run: its weights, scaling, clusters and bins.", show_default=False
    ),
]
Final = Annotated[
    bool,
    typer.Option(
        "--final",
        help="Then fit the same recipe on all clicks, into the run NAME-final, which is released; the same as "
        "training.final_fit=true.",
    ),
]
SeedCount = Annotated[int, typer.Option("--count", "-n", min=1, help="Run seeds 0 to COUNT - 1.")]


class Split(StrEnum):
    """The splits of held-out clicks on which a run can be evaluated."""

    val = columns.VAL
    test = columns.TEST


def with_warm_start_option(overrides: list[str] | None, run: str | None) -> list[str]:
    """Adds the run to start from to the overrides; it is quoted, since YAML would read some names as dates."""
    return [*(overrides or []), *([] if run is None else [f"training.warm_start={json.dumps(run)}"])]


def with_final_option(overrides: list[str], final: bool) -> list[str]:
    """Adds the setting of the final fit to the overrides, if the final fit is asked for."""
    return [*overrides, *(["training.final_fit=true"] if final else [])]


def with_shard(overrides: list[str] | None, job: str, shard: str | None) -> list[str]:
    """Adds a shard, if there is one, to the overrides, for the batch job whose section of settings is `job`."""
    return [*(overrides or []), *([] if shard is None else [f"{job}.shard={shard}"])]
