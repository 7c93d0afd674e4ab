"""The command line: `m3csr VERB --config FILE section.name=value ...`, and the same as scripts in pipelines/."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from m3csr_tf import columns
from m3csr_tf import config as configuration
from m3csr_tf.errors import ConfigError, M3CSRError
from m3csr_tf.util import signals
from m3csr_tf.util.progress import say
from m3csr_tf.util.quoting import one_line, quoted
from m3csr_tf.util.terminal import Terminal, log_to_stderr

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="YAML file of settings; without one, all defaults.", show_default=False),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SECTION.NAME=VALUE]...",
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

_KEPT, _SAMPLE = 3, 500
_OF_ONE_MACHINE = ("run_all", "seeds", "ablations", "sweep", "suite")
"""Verbs that train and then do something else with what was trained."""
_OF_A_RELEASE = ("list_versions", "verify", "rollback", "prune", "refresh", "retrieve", "embed", "explain")
"""Verbs that need no settings of the data: what they ask for lies in the release, or in the run that it came from."""


class Split(StrEnum):
    """Interactions that a run can be judged on."""

    val = columns.VAL
    test = columns.TEST


app = typer.Typer(
    name="m3csr",
    help="M3CSR: a two-tower recommender for cold-start short videos.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _run(verb: str, config_file: Path | None, overrides: list[str] | None, *args: object) -> None:
    """Runs a verb; an error that the user can mend becomes one message and exit code 2, Ctrl-C exit code 130."""
    log_to_stderr()
    try:
        config = configuration.load(config_file, overrides or [], of_release=verb in _OF_A_RELEASE)
        if verb in _OF_ONE_MACHINE and config.run.strategy == "multi_worker":
            raise ConfigError(
                f"{verb} does more than training, which run.strategy=multi_worker would do on every worker: run "
                "pipelines/train.py on all of them, then the other verbs on one with run.strategy=one_device"
            )
        # Only now: importing TensorFlow takes seconds, and a mistyped setting should not.
        from m3csr_tf import verbs

        action: Callable[..., object] = getattr(verbs, verb)
        signals.begin()
        with verbs.system_errors():
            action(config, *args)
    except M3CSRError as error:
        if signals.received():
            raise signals.Stopped from None
        say(one_line(f"error: {error}"))
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        say("interrupted; the same command goes on where it stopped")
        raise typer.Exit(130) from None


def _with_start(overrides: list[str] | None, run: str | None) -> list[str]:
    """The overrides, and the run to start from; quoted, since a name may look like a date."""
    return [*(overrides or []), *([] if run is None else [f"training.warm_start={json.dumps(run)}"])]


@app.command()
def prepare(config: ConfigOption = None, overrides: Overrides = None, warm_start: WarmStart = None) -> None:
    """Read and check raw logs, split, scale, cluster and bin them; write runs/NAME/prepared."""
    _run("prepare", config, _with_start(overrides, warm_start))


@app.command()
def train(config: ConfigOption = None, overrides: Overrides = None, warm_start: WarmStart = None) -> None:
    """Train the two towers, or go on with a run that was stopped; prepares first if need be."""
    _run("train", config, _with_start(overrides, warm_start))


@app.command()
def evaluate(config: ConfigOption = None, overrides: Overrides = None) -> None:
    """Rank the whole catalogue for validation and test users, beside baselines; write runs/NAME/metrics.json."""
    _run("evaluate", config, overrides)


@app.command()
def frontier(
    config: ConfigOption = None,
    overrides: Overrides = None,
    split: Annotated[Split, typer.Option("--split", help="Whose clicks judge the lists.")] = Split.val,
) -> None:
    """Show what shares of cold items in the lists cost and give; write frontier.csv and frontier.png to runs/NAME."""
    _run("frontier", config, overrides, split.value)


@app.command()
def release(
    config: ConfigOption = None,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[publish|list|verify|rollback|prune] [SECTION.NAME=VALUE]...",
            help="What to do, publish without a word; then settings that override the file.",
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        int | None, typer.Option(help="verify, rollback: which version; the current one, or the one before it.")
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(min=1, help=f"prune: how many versions stay, the current one among them; {_KEPT} by default."),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help=f"verify: items and users whose vectors are recomputed; {_SAMPLE} by default."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="publish: also a run that is the current version.")] = False,
) -> None:
    """Export towers and ScaNN index as one version to saved_models/NAME; list, verify, roll back, prune versions."""
    word, overrides = "publish", words or []
    if overrides and "=" not in overrides[0]:
        word, overrides = overrides[0], overrides[1:]
    actions: dict[str, tuple[str, dict[str, object]]] = {
        "publish": ("release", {"again": again}),
        "list": ("list_versions", {}),
        "verify": ("verify", {"version": version, "sample": sample or _SAMPLE}),
        "rollback": ("rollback", {"version": version}),
        "prune": ("prune", {"keep": keep or _KEPT}),
    }
    if word not in actions:
        raise typer.BadParameter(f"{quoted(word)}: expected {', '.join(actions)}, or section.name=value")
    verb, taken = actions[word]
    given = {"version": version, "keep": keep, "sample": sample, "again": again or None}
    for option, value in given.items():
        if value is not None and option not in taken:
            takes = ", ".join(f"--{one}" for one in taken) or "no option of its own"
            raise typer.BadParameter(f"--{option}: release {word} does not take it; it takes {takes}")
    _run(verb, config, overrides, *taken.values())


@app.command()
def refresh(
    config: ConfigOption = None,
    overrides: Overrides = None,
    items: Annotated[
        Path | None,
        typer.Option(help="Items that came or changed, .parquet or .csv: item_id, vectors, view_count, removed."),
    ] = None,
    remove: Annotated[
        Path | None, typer.Option(help="Ids of items to remove: .txt, one a line, or .parquet or .csv with item_id.")
    ] = None,
    follow: Annotated[
        Path | None, typer.Option(help="Folder to take such files of items from as they arrive, until ctrl-c.")
    ] = None,
    compact: Annotated[bool, typer.Option("--compact", help="Build the index afresh, as a new version.")] = False,
) -> None:
    """Take fresh videos, popularity updates and removals into the live index, without training or rebuilding."""
    _run("refresh", config, overrides, items, remove, follow, compact)


@app.command()
def retrieve(
    config: ConfigOption = None,
    overrides: Overrides = None,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard", metavar="I/N", help="Make the I-th of N shares alone, e.g. 2/3; the same as retrieve.shard."
        ),
    ] = None,
) -> None:
    """Write top-N lists from the release, for retrieve.users or for all users of the run; goes on after a kill."""
    _run("retrieve", config, [*(overrides or []), *([] if shard is None else [f"retrieve.shard={shard}"])])


@app.command()
def embed(
    config: ConfigOption = None,
    overrides: Overrides = None,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Make the I-th of N shares alone; the same as embed.shard."),
    ] = None,
) -> None:
    """Write item vectors from the release, of embed.items or of all items of the release; goes on after a kill."""
    _run("embed", config, [*(overrides or []), *([] if shard is None else [f"embed.shard={shard}"])])


@app.command()
def explain(
    user: Annotated[str, typer.Option(help="Id of the user, known or not.")],
    item: Annotated[str, typer.Option(help="Id of an item of the release.")],
    config: ConfigOption = None,
    overrides: Overrides = None,
    history: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="""Item ids, oldest first, or a JSON list of them, '["A", "B"]'; without it, that of the run's log.""",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON (docs/explain.md).")] = False,
) -> None:
    """Split the score of an item for a user into its parts, with intensities, gate and attention."""
    _run("explain", config, overrides, user, item, history, as_json)


@app.command("run_all")
def run_all(config: ConfigOption = None, overrides: Overrides = None, warm_start: WarmStart = None) -> None:
    """prepare, train, evaluate, release and retrieve in one go."""
    _run("run_all", config, _with_start(overrides, warm_start))


@app.command()
def seeds(
    config: ConfigOption = None,
    overrides: Overrides = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Run seeds 0 to COUNT - 1.")] = 5,
) -> None:
    """Train and evaluate with several seeds; print means, spreads and paired tests against the baselines."""
    _run("seeds", config, overrides, count)


@app.command()
def ablations(
    config: ConfigOption = None,
    overrides: Overrides = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Run seeds 0 to COUNT - 1.")] = 5,
) -> None:
    """Train and evaluate the full model and the paper's four ablations; print what each component contributes."""
    _run("ablations", config, overrides, count)


@app.command()
def sweep(
    space: Annotated[Path, typer.Option("--space", "-s", help="YAML file: settings to search, tasks that judge them.")],
    config: ConfigOption = None,
    overrides: Overrides = None,
    trials: Annotated[int, typer.Option("--trials", "-n", min=1, help="Trials in all, earlier sittings counted.")] = 20,
) -> None:
    """Search for settings, judged on validation alone; the same command goes on with a sweep that was stopped."""
    _run("sweep", config, overrides, space, trials)


@app.command()
def suite(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="YAML file: members, seeds, data and settings (docs/suite.md).")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SECTION.NAME=VALUE]...",
            help="Settings of all members, e.g. a recipe that is tried; run.name=NAME gives its runs a name.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER", help="Where a data set of the suite lies; once for each.", show_default=False
        ),
    ] = None,
    member: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Run this member alone; may be given again.", show_default=False),
    ] = None,
    split: Annotated[
        Split | None,
        typer.Option(
            "--split",
            help="Whose clicks judge; without it, what the file says, validation by default.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "--count", "-n", min=1, help="Run seeds 0 to COUNT - 1, not as many as the file says.", show_default=False
        ),
    ] = None,
) -> None:
    """Train one recipe on a suite of data sets, each beside its tuned baselines; print ratios and the worst of them."""
    _run("suite", None, overrides, config, overrides or [], data or [], member or [], split and split.value, count)


@app.command()
def simulate(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="YAML file: systems, days, world and settings (docs/simulation.md).")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SECTION.NAME=VALUE]...",
            help="Settings of the simulation, e.g. simulation.days=2, and of all its systems, e.g. training.epochs=3.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Add the file's settings for a run of a minute, to see that it works.")
    ] = False,
) -> None:
    """Run systems side by side in a closed loop with the synthetic world; print clicks, climbing, coverage (Table 4).

    Every round lists come from each system's release, true utilities decide what people click, like, follow and watch,
    new videos and view counts come in by refresh, and every night retrains and publishes. Writes runs/NAME/results.json
    and CSV tables; goes on after a kill.
    """
    given = overrides or []
    _run("simulate", None, [one for one in given if not one.startswith("simulation.")], config, given, quick)


@app.command()
def settings(section: Annotated[str | None, typer.Argument(help="One section, e.g. training.")] = None) -> None:
    """List every setting with its default and meaning."""
    table = Table("setting", "default", "meaning", show_lines=False)
    described = list(configuration.described())
    for name, default, meaning in described:
        if section is None or name.startswith(f"{section}."):
            table.add_row(name, default, meaning)
    if not table.row_count:
        sections = ", ".join(dict.fromkeys(name.split(".")[0] for name, _, _ in described))
        raise typer.BadParameter(f"{quoted(section)}: no such section; expected one of {sections}")
    Terminal().print(table)
