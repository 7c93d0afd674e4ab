"""The commands of the verbs; `release` is a group of subcommands, in a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from m3csr_tf import config as configuration
from m3csr_tf.cli import release
from m3csr_tf.cli.evaluate import evaluate
from m3csr_tf.cli.options import (
    ConfigOption,
    Final,
    Overrides,
    SeedCount,
    Split,
    WarmStart,
    with_final_option,
    with_shard,
    with_warm_start_option,
)
from m3csr_tf.cli.run_verb import run_verb
from m3csr_tf.cli.serve import serve
from m3csr_tf.cli.similar import similar
from m3csr_tf.util.quoting import quoted
from m3csr_tf.util.terminal import Terminal

app = typer.Typer(
    name="m3csr",
    help="M3CSR: a two-tower recommender for cold-start short videos.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def prepare(config: ConfigOption = None, overrides: Overrides = None, warm_start: WarmStart = None) -> None:
    """Read, check and split raw logs; scale and cluster content; bin popularity; write runs/NAME/prepared."""
    run_verb("prepare", config, with_warm_start_option(overrides, warm_start))


@app.command()
def train(
    config: ConfigOption = None, overrides: Overrides = None, warm_start: WarmStart = None, final: Final = False
) -> None:
    """Train the model, or continue a run that was stopped; prepare the data first if necessary."""
    run_verb("train", config, with_final_option(with_warm_start_option(overrides, warm_start), final))


app.command()(evaluate)


@app.command()
def frontier(
    config: ConfigOption = None,
    overrides: Overrides = None,
    split: Annotated[Split, typer.Option("--split", help="Whose clicks judge the lists.")] = Split.val,
) -> None:
    """Show what shares of cold items in the lists cost and gain; write frontier.csv and frontier.png to runs/NAME."""
    run_verb("frontier", config, overrides, split.value)


app.add_typer(release.app)


@app.command()
def refresh(
    config: ConfigOption = None,
    overrides: Overrides = None,
    items: Annotated[
        Path | None,
        typer.Option(help="Items that came or changed, a table (docs/data.md): item_id, vectors, view_count, removed."),
    ] = None,
    remove: Annotated[
        Path | None, typer.Option(help="Ids of items to remove: .txt, one a line, or a table with item_id.")
    ] = None,
    follow: Annotated[
        Path | None, typer.Option(help="Folder to take such files of items from as they arrive, until ctrl-c.")
    ] = None,
    compact: Annotated[bool, typer.Option("--compact", help="Build the index afresh, as a new version.")] = False,
) -> None:
    """Take fresh videos, popularity updates and removals into the live index, without training or rebuilding."""
    run_verb("refresh", config, overrides, items, remove, follow, compact, without_data=True)


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
    """Write top-N lists, for retrieve.users or for all users of the run; continue a job that was killed."""
    run_verb("retrieve", config, with_shard(overrides, "retrieve", shard), without_data=True)


@app.command()
def embed(
    config: ConfigOption = None,
    overrides: Overrides = None,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Make the I-th of N shares alone; the same as embed.shard."),
    ] = None,
) -> None:
    """Write item vectors, for embed.items or for all items of the release; continue a job that was killed."""
    run_verb("embed", config, with_shard(overrides, "embed", shard), without_data=True)


app.command()(similar)


app.command()(serve)


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
    run_verb("explain", config, overrides, user, item, history, as_json, without_data=True)


@app.command()
def report(config: ConfigOption = None, overrides: Overrides = None) -> None:
    """Write a page of tables and figures, and a model card, as runs/NAME/{report.html,figures,model_card.md}."""
    run_verb("report", config, overrides)


@app.command()
def track(config: ConfigOption = None, overrides: Overrides = None) -> None:
    """Log an existing run to the MLflow store of run.tracking_uri, and register its release; may be repeated."""
    run_verb("track", config, overrides, without_data=True)


@app.command("run_all")
def run_all(
    config: ConfigOption = None, overrides: Overrides = None, warm_start: WarmStart = None, final: Final = False
) -> None:
    """Prepare, train, evaluate, release, retrieve and report, one after the other."""
    given = with_final_option(with_warm_start_option(overrides, warm_start), final)
    run_verb("run_all", config, given, on_one_machine=True)


@app.command()
def seeds(
    config: ConfigOption = None,
    overrides: Overrides = None,
    count: SeedCount = 5,
) -> None:
    """Train and evaluate with several seeds; print means, spreads and paired tests against the baselines."""
    run_verb("seeds", config, overrides, count, on_one_machine=True)


@app.command()
def ablations(
    config: ConfigOption = None,
    overrides: Overrides = None,
    count: SeedCount = 5,
) -> None:
    """Train and evaluate the full model and the paper's four ablations; print what each component contributes."""
    run_verb("ablations", config, overrides, count, on_one_machine=True)


@app.command()
def sweep(
    space: Annotated[Path, typer.Option("--space", "-s", help="YAML file: settings to search, tasks that judge them.")],
    config: ConfigOption = None,
    overrides: Overrides = None,
    trials: Annotated[int, typer.Option("--trials", "-n", min=1, help="Trials in all, earlier sittings counted.")] = 20,
) -> None:
    """Search for settings, judged on validation alone; the same command continues a sweep that was stopped."""
    run_verb("sweep", config, overrides, space, trials, on_one_machine=True)


@app.command()
def suite(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="YAML file: members, seeds, data and settings (docs/suite.md).")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SECTION.NAME=VALUE",
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
    """Train one recipe on several data sets, beside tuned baselines on each; print the ratios and the worst of them."""
    run_verb(
        "suite",
        None,
        overrides,
        config,
        overrides or [],
        data or [],
        member or [],
        split and split.value,
        count,
        on_one_machine=True,
    )


@app.command()
def experiment(
    config: Annotated[
        Path,
        typer.Option("--config", "-c", help="YAML file: models, searches, data and splits (docs/experiment.md)."),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SECTION.NAME=VALUE",
            help="Settings of all runs, e.g. data.path=FOLDER; run.name=NAME gives the experiment a name.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER", help="Where a data set of the experiment lies; once for each.", show_default=False
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            "-j",
            min=1,
            help="Runs at a time, one thread each; by default one a core.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Take the file's section `quick`: a small variant.")] = False,
) -> None:
    """Tune and run many models on several data sets; write tables, figures and a report; continue after a kill."""
    run_verb(
        "experiment",
        None,
        _of_run(overrides or []),
        config,
        overrides or [],
        data or [],
        processes,
        quick,
        on_one_machine=True,
    )


def _of_run(overrides: list[str]) -> list[str]:
    """Returns the overrides of section `run`; others may be invalid without the experiment's data."""
    return [one for one in overrides if one.startswith("run.")]


@app.command()
def baselines(config: ConfigOption = None, overrides: Overrides = None) -> None:
    """Tune and evaluate closed-form baselines without a trained model; write runs/NAME/baselines.json."""
    run_verb("baselines", config, overrides)


@app.command()
def simulate(
    config: Annotated[
        Path,
        typer.Option(
            "--config", "-c", help="YAML file of systems, days and world, e.g. pipelines/configs/simulate_demo.yaml."
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SECTION.NAME=VALUE",
            help="Settings of the simulation, e.g. simulation.days=2, and of all its systems, e.g. training.epochs=3.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Add the file's settings for a run of a minute, to see that it works.")
    ] = False,
) -> None:
    """Run systems side by side in a closed loop with the synthetic world; print clicks, climbing, coverage (Table 4).

    In every round, each system makes lists from its release, true utilities decide what people click, like, follow and
    watch, and a refresh takes in new videos and view counts. Every night retrains and publishes. Writes
    runs/NAME/results.json and CSV tables; continues after a kill.
    """
    given = overrides or []
    run_verb("simulate", None, [one for one in given if not one.startswith("simulation.")], config, given, quick)


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
