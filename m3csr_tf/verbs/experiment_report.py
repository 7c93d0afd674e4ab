"""The report of an experiment: one page with its tables and figures, and a model card for every reported run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure as Canvas

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.experiments.comparison import curves, tables
from m3csr_tf.experiments.comparison.planning import LONGEST_CURVE
from m3csr_tf.experiments.comparison.results import ALL_TABLES, FIGURES, RESULTS_FILE, TRAINED
from m3csr_tf.experiments.comparison.sheet import Sheet
from m3csr_tf.reports.document import (
    Block,
    Cell,
    Fact,
    Facts,
    Figure,
    Link,
    Number,
    PageSection,
    PageTable,
    Report,
    Text,
)
from m3csr_tf.reports.figures.cutoffs import by_length
from m3csr_tf.reports.figures.popularity import bin_names, recall_by_popularity
from m3csr_tf.reports.figures.quality_time import quality_against_time
from m3csr_tf.reports.figures.style import save
from m3csr_tf.reports.figures.training_curves import training_curves
from m3csr_tf.reports.model_card import model_card
from m3csr_tf.reports.page import write_page
from m3csr_tf.reports.run_files import read_run
from m3csr_tf.reports.run_report import CARD, PAGE
from m3csr_tf.training import run_files
from m3csr_tf.util.files import write_text
from m3csr_tf.util.progress import progress
from m3csr_tf.verbs.experiment_model import model_sections

_CURVES = 8
"""Largest number of systems in a figure, since more curves could not be told apart."""
_SECTIONS = {
    "Accuracy": ("table2_accuracy", "slices"),
    "Ablations": ("table3_ablations",),
    "Lists": ("lists",),
    "Data": ("table1_data",),
    "Search and cost": ("chosen", "cost"),
}
"""Title of a section of the page -> names of its tables."""

_ROW_HEADINGS = ("system", "variant")

Tree = Mapping[str, Any]


def write_report(
    tree: Tree,
    sheets: Sequence[Sheet],
    drawn: Mapping[str, pd.DataFrame],
    finals: Mapping[str, Path],
    chosen: Mapping[str, Config | None],
    folder: Path,
) -> Path:
    """Writes report.html, the figures as PNG and SVG, and model_card.md into the folder of every reported run.

    Args:
      tree: the contents of results.json.
      sheets: the tables.
      drawn: name of a figure -> its data, in the form that `curves.write` returns.
      finals: job -> folder of the reported run of a trained model.
      chosen: cell -> the configuration of the compared model's run of seed 0; None if that run has failed.
      folder: the folder of the experiment.

    Returns:
      The path of the page.
    """
    with progress("drawing figures and writing model cards"):
        figures = {cell: list(_figures(tree, cell, drawn, folder / FIGURES)) for cell in tree["cells"]}
        for job, run_folder in finals.items():
            _write_card(tree, job, run_folder)
    inside = list(model_sections(tree["ours"], chosen, folder / FIGURES))
    sections = [
        PageSection("Summary", [Facts(list(_facts(tree))), *_failures(tree)]),
        *_tables(sheets),
        *(PageSection(f"Figures: {cell}", blocks) for cell, blocks in figures.items()),
        *inside,
        PageSection("Runs and files", list(_files(tree))),
    ]
    models = sorted({system["title"] for cell in tree["cells"].values() for system in cell["systems"].values()})
    subtitle = (
        f"{len(models)} systems on {len(tree['cells'])} data sets and splits; every trained model was tuned by "
        f"{tables.trials(tree)} on validation, of at most {tree['epochs']:g} passes over the training clicks each."
    )
    write_page(Report(f"Experiment {tree['experiment']}", subtitle, sections), folder / PAGE)
    return folder / PAGE


def _facts(tree: Tree) -> Iterator[Fact]:
    for cell, found in tree["cells"].items():
        best = found["best_rivals"].get("all", {}).get("recall@20")
        ours = next((system for system in found["systems"].values() if system["title"] == tree["ours"]), None)
        if ours is None or best is None or "all" not in ours["test"]:
            continue
        rival = found["systems"][best]
        test = rival["against_ours"].get("all", {}).get("recall@20")
        note = f"best rival: {rival['title']} {rival['test']['all']['recall@20']['mean']:.4f}"
        if test is not None:
            note += f"; difference {test['difference']:+.4f}, 95% {test['low']:+.4f} to {test['high']:+.4f}"
        yield Fact(f"{tree['ours']}, Recall@20, {cell}", f"{ours['test']['all']['recall@20']['mean']:.4f}", note)


def _failures(tree: Tree) -> Iterator[Block]:
    if tree["failed"]:
        yield Text([f"{name} has failed: {problem}" for name, problem in tree["failed"].items()])


def _tables(sheets: Sequence[Sheet]) -> Iterator[PageSection]:
    by_name = {sheet.name: sheet for sheet in sheets}
    for title, names in _SECTIONS.items():
        yield PageSection(title, [_table(by_name[name]) for name in names if name in by_name])


def _table(sheet: Sheet) -> PageTable:
    """Converts a sheet to a table of the page; the system comes first, as phones keep the first column in sight."""
    order = sorted(range(len(sheet.columns)), key=lambda position: sheet.columns[position].heading not in _ROW_HEADINGS)
    rows: list[list[Cell]] = []
    for row, texts in zip(sheet.rows, sheet.texts(), strict=True):
        cells: list[Cell] = []
        for position in order:
            number, text = sheet.columns[position].number, texts[position]
            value = None if number is None else number(row)
            cells.append(text if number is None else Number(None if value is None else float(value), text))
        rows.append(cells)
    return PageTable(sheet.title, [sheet.columns[position].heading for position in order], rows, sheet.note)


def _figures(tree: Tree, cell: str, drawn: Mapping[str, pd.DataFrame], folder: Path) -> Iterator[Block]:
    """Draws the figures for which there are data; if there are many systems, it shows ours and the best others."""

    def figure(name: str, title: str, caption: str, canvas: Canvas) -> Figure:
        return Figure(title, caption, save(canvas, folder, f"{name}-{cell}"))

    best = _best(tree, cell)
    figures_of_cell = {name: table[table["cell"] == cell] for name, table in drawn.items()}
    shown = f" The {len(best)} best of all systems by Recall@20." if len(best) == _CURVES else ""
    lengths = figures_of_cell.get(curves.LENGTHS)
    if lengths is not None and len(lengths):
        table = _ordered(lengths[lengths["n"] <= LONGEST_CURVE], best).rename(columns={"system": "subset"})
        for metric, name in (("recall", "Recall"), ("ndcg", "NDCG")):
            caption = f"{name}@N on test, means over users and seeds.{shown}"
            yield figure(f"{metric}_by_length", f"{name} by length", caption, by_length(table, metric, name))
    subsets = figures_of_cell.get(f"{curves.LENGTHS}_and_modalities")
    if subsets is not None and len(subsets):
        table = subsets[subsets["n"] <= LONGEST_CURVE].rename(columns={"system": "subset"})
        for metric, name in (("recall", "Recall"), ("ndcg", "NDCG")):
            caption = f"{name}@N of {tree['ours']} trained with these modalities alone, on test, means over users."
            title = f"{name} by modalities"
            yield figure(f"{metric}_by_modalities", title, caption, by_length(table, metric, name))
    popularity = figures_of_cell.get(curves.POPULARITY)
    if popularity is not None and len(popularity):
        wide = _ordered(popularity, best).pivot(index="bin", columns="system", values="found")
        one = popularity[popularity["system"] == popularity["system"].iloc[0]].set_index("bin")
        found = pd.DataFrame({"bin": bin_names([int(low) for low in one["low"].iloc[1:]]), "clicks": one["clicks"]})
        for system in [name for name in best if name in wide]:
            found[system] = wide[system]
        caption = f"Of the held-out clicks on items of each popularity, the share in the user's top 20.{shown}"
        yield figure("recall_by_popularity", "Recall by popularity", caption, recall_by_popularity(found, 20))
    quality = figures_of_cell.get(curves.QUALITY)
    if quality is not None and len(quality):
        table = _ordered(quality, _best(tree, cell, set(quality["system"])))
        caption = (
            "Validation Recall@20 against the seconds of training until then, first seed of each trained model; what "
            "comes before the first step (where weights start, graphs) and the validations take more."
        )
        canvas = quality_against_time(table, "validation Recall@20")
        yield figure("quality_time", "Quality against training time", caption, canvas)
    training = figures_of_cell.get(curves.TRAINING)
    if training is not None:
        ours = training[(training["system"] == tree["ours"]) & (training["seed"] == 0)]
        if len(ours):
            validations = ours[["step", "loss", "recall@20", "ndcg@20"]].reset_index(drop=True)
            systems = tree["cells"][cell]["systems"].values()
            cost = next(system["cost"] for system in systems if system["title"] == tree["ours"])
            canvas = training_curves(validations, int(cost["best_steps"][0]))
            caption = f"Training loss and validation of {tree['ours']}, first seed."
            yield figure("training_curves", f"Training of {tree['ours']}", caption, canvas)


def _best(tree: Tree, cell: str, among: Collection[str] | None = None) -> list[str]:
    """Returns the titles of ours and of the systems best by Recall@20 on test, at most _CURVES, without the truth.

    Args:
      tree: the contents of results.json.
      cell: the data set and split.
      among: titles to choose from; None takes all.
    """
    systems = {
        system["title"]: system["test"]["all"]["recall@20"]["mean"]
        for name, system in tree["cells"][cell]["systems"].items()
        if "all" in system["test"] and name != "truth" and (among is None or system["title"] in among)
    }
    ordered = sorted(systems, key=lambda title: (title != tree["ours"], -systems[title]))
    return ordered[:_CURVES]


def _ordered(table: pd.DataFrame, systems: Sequence[str]) -> pd.DataFrame:
    """Returns the rows of these systems, in the order of the systems."""
    parts = [table[table["system"] == system] for system in systems]
    return pd.concat(parts, ignore_index=True) if parts else table.iloc[:0]


def _write_card(tree: Tree, job: str, folder: Path) -> None:
    """Writes the model card of a run, with a section on how the experiment has chosen its settings."""
    cell, name, system = next(
        (cell, name, system)
        for cell, found in tree["cells"].items()
        for name, system in found["systems"].items()
        if system["how"] == TRAINED and job.startswith(f"{cell}-{name}-seed")
    )
    run = read_run(folder, Prepared.open(folder / run_files.PREPARED_FOLDER), system["title"])
    chosen_on = tree["cells"][cell]["chosen_on"]
    changed = ", ".join(f"{one} = {value}" for one, value in system.get("settings", {}).items())
    test = system["test"]["all"]["recall@20"]
    spread = "" if test["sd"] is None else f" ± {test['sd']:.4f} over seeds {', '.join(map(str, system['seeds']))}"
    lines = [
        "## In the experiment",
        "",
        f"- Experiment `{tree['experiment']}`, {cell}: the model is called {name} there.",
        f"- Its settings are the best of {tables.trials(tree)} by Recall@20 on validation users"
        f"{f' of the split {chosen_on}' if chosen_on else ''}; it changed {changed or 'nothing'}.",
        f"- Recall@20 on test, mean over seeds: {test['mean']:.4f}{spread}.",
        "",
    ]
    write_text(folder / CARD, "\n".join([model_card(run), *lines]))


def _files(tree: Tree) -> Iterator[Block]:
    entries = {
        RESULTS_FILE: "every figure of the experiment, seed by seed, as JSON",
        ALL_TABLES: "all tables, Markdown",
        "tables": "each table as CSV and Markdown",
        FIGURES: "figures as PNG and SVG, and their data as CSV",
        "configs": "settings of every run",
        "logs": "output of every run",
    }
    yield PageTable("Files", ["file", "what it is"], [[Link(name, name), what] for name, what in entries.items()])
    rows: list[list[Cell]] = []
    for name, run in tree["runs"].items():
        seconds = sum(verb["seconds"] for verb in run["verbs"].values())
        commands = "; ".join(verb["command"] for verb in run["verbs"].values())
        rows.append([name, Number.of(seconds, 0), commands])
    yield PageTable("Runs", ["run", "seconds", "commands"], rows, folded=True)
    versions: list[list[Cell]] = [[name, str(value)] for name, value in tree["versions"].items()]
    yield PageTable("Versions", ["what", "version"], versions, folded=True)
