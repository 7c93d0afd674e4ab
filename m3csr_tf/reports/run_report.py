"""The report of one run: its files, and what was taken from its model, as sections with figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os.path import relpath
from pathlib import Path

import pandas as pd

from m3csr_tf.drift.comparison_file import COMPARISON_FILE
from m3csr_tf.reports import case_study, run_figures
from m3csr_tf.reports.document import (
    Block,
    CaseStudy,
    Fact,
    Facts,
    Figure,
    FoldedText,
    Link,
    Number,
    PageSection,
    PageTable,
    Report,
    Text,
)
from m3csr_tf.reports.evidence import Evidence
from m3csr_tf.reports.model_card import limits
from m3csr_tf.reports.run_files import CONFIG, FRONTIER, LISTS, METRICS, THROUGHPUT, VALIDATIONS, RunFiles
from m3csr_tf.reports.version_comparison import comparison_blocks
from m3csr_tf.reports.words import chosen_by, describe_split, figure_of, has_intervals, systems_of, titled
from m3csr_tf.util.progress import ProgressCallback

PAGE, CARD, FIGURES = "report.html", "model_card.md", "figures"
"""The files of a run that its report writes, and the folder of the figures."""

_METRICS = {"recall": "Recall", "precision": "Precision", "ndcg": "NDCG"}
_SLICES = {
    "all": "",
    "warm": "Warm: judged by clicks on items with training clicks.",
    "few": "Few: on items with 1 to 4 of them.",
    "cold": "Cold: on items without one.",
    "tail": "Tail: on items with 0 to 4.",
    "cold_only": "Cold only: cold items ranked among themselves.",
}
"""Slice of an evaluation -> its explanation."""
_INTERVALS = {
    True: "with 95% bootstrap intervals over users",
    False: "without intervals, since evaluation.bootstrap was 0",
}


def run_report(
    run: RunFiles,
    evidence: Evidence,
    folder: Path,
    page_folder: Path,
    release: Path | None = None,
    pictures: Path | None = None,
    on_progress: ProgressCallback | None = None,
) -> Report:
    """Draws the figures of a run and lays out its page.

    Args:
      run: the files of the run.
      evidence: what was taken from the run's model.
      folder: the folder to which the figures are written.
      page_folder: the folder of the page, from which links start.
      release: the folder of the run's release, if there is one.
      pictures: the folder of the catalogue's pictures, if there are any.
      on_progress: is called with the number of figures that are drawn, and their total.
    """
    studies = []
    if run.lists is not None:
        seed = int(run.settings["run"]["seed"])
        studies = case_study.studies(
            run.lists, run.prepared, seed, evidence.histories, evidence.case_intensities, pictures
        )
    drawn = run_figures.drawn(run, evidence, studies, folder, on_progress)
    counts = run.prepared.manifest["counts"]
    subtitle = (
        f"{run.model} trained on {counts['train_interactions']:,} interactions of {counts['users']:,} users with "
        f"{counts['items']:,} items ({describe_split(run)}), judged on {counts['test_interactions']:,} held-out ones."
    )
    sections = [
        PageSection("Summary", [Facts(list(_facts(run))), *_lacking(evidence, run)]),
        PageSection("Results", [*_results(run), *drawn["results"]]),
        PageSection("Data", list(_data(run))),
        PageSection("Modalities", [*_intensity(run), *drawn["modalities"]]),
        PageSection("New and rare items", [*drawn["popularity"], *_frontier(run), *drawn["frontier"]]),
        PageSection("Case study", list(case_blocks(studies, drawn["case"], "those with a list and"))),
        PageSection("Versions compared", list(comparison_blocks(run.comparison))),
        PageSection("Training", [*_training(run), *drawn["training"]]),
        PageSection("Limits", [Text([limit]) for limit in limits(run)]),
        PageSection("Settings and files", list(_files(run, page_folder, release))),
    ]
    return Report(f"Run {run.name}", subtitle, sections)


def _facts(run: RunFiles) -> Iterator[Fact]:
    test = run.metrics["test"]
    for metric in ("recall@20", "ndcg@20"):
        found = figure_of(test["all"], metric)
        interval = f"95% interval {found.low} to {found.high}" if found.low else "without an interval"
        yield Fact(f"{_named(metric)}, test users", found.text, interval)
    if test.get("cold", {}).get("users"):
        found = figure_of(test["cold"], "recall@20")
        note = f"95% interval {found.low} to {found.high}" if found.low else "without an interval"
        yield Fact("Recall@20, items without a click", found.text, note)
    if "cold_share@20" in test["all"]:
        share = test["all"]["cold_share@20"]
        cold, items = run.prepared.manifest["counts"]["cold_items"], run.prepared.manifest["counts"]["items"]
        yield Fact("places given to cold items", f"{share:.1%}", f"they are {cold / items:.1%} of the catalogue")
    if "coverage@20" in test["all"]:
        yield Fact("catalogue coverage", f"{test['all']['coverage@20']:.1%}", "items in anybody's top 20")
    finished = run.finished
    yield Fact("training", f"{finished['training_seconds']:,.0f} s", f"{finished['steps']:,} steps")


def _lacking(evidence: Evidence, run: RunFiles) -> Iterator[Block]:
    reasons = dict(evidence.lacking)
    if run.frontier is None:
        reasons["Cold-item frontier"] = "run pipelines/frontier.py, then pipelines/report.py, to have it here"
    if run.comparison is None:
        reasons["Versions compared"] = "run pipelines/release.py compare, then pipelines/report.py, to have it here"
    if run.lists is None:
        reasons["Case study"] = "the run has no lists with parts of scores; run pipelines/retrieve.py first"
    if run.validations is None:
        reasons["Training curves"] = "the training logged no validation"
    if reasons:
        sentences = "; ".join(f"{name}: {why}" for name, why in reasons.items())
        yield Text([f"Left out. {sentences}."])


def _results(run: RunFiles) -> Iterator[Block]:
    systems = systems_of(run)
    every = run.metrics["test"]["all"]
    metrics = [name for name in every if name.partition("@")[0] in _METRICS]
    metrics.sort(key=lambda name: not name.endswith("@20"))  # A phone may show only the first columns.
    shares = [name for name in every if name.partition("@")[0] in ("coverage", "cold_share", "cold_coverage")]
    rows: list[list[str | Number | Link]] = []
    for system, slices in systems.items():
        whole = slices["all"]
        figures = {metric: figure_of(whole, metric) for metric in metrics}
        shares_of_lists = [Number.of(whole.get(share), 1, percent=True) for share in shares]
        first = [figures[metric] for metric in metrics if metric.endswith("@20")]
        rows.append([system, *first, *shares_of_lists, *list(figures.values())[len(first) :]])
    at_20 = [metric for metric in metrics if metric.endswith("@20")]
    others = metrics[len(at_20) :]
    headings = ["system", *map(_named, at_20), *(share.replace("_", " ") for share in shares), *map(_named, others)]
    drawn = "" if every.get("of", 0) == every["users"] else f", a seeded draw of {every.get('of', 0):,}"
    yield PageTable(
        "All systems on the test split, all items ranked",
        headings,
        rows,
        f"Means over {every['users']:,} users{drawn}, {_INTERVALS[has_intervals(run)]}. Each user's own "
        "training clicks are left out of her list. Coverage is the share of the catalogue, and of its cold "
        "items, in anybody's list.",
    )
    shown_slices = [name for name in _SLICES if run.metrics["test"].get(name, {}).get("users")]
    for metric in ("recall@20", "ndcg@20"):
        rows = [
            [system, *(figure_of(slices.get(name, {}), metric) for name in shown_slices)]
            for system, slices in systems.items()
        ]
        users = ", ".join(f"{name.replace('_', ' ')} {run.metrics['test'][name]['users']:,}" for name in shown_slices)
        yield PageTable(
            f"{_named(metric)} by kind of item",
            ["system", *(name.replace("_", " ") for name in shown_slices)],
            rows,
            f"Users with such clicks: {users}. {' '.join(_SLICES[name] for name in shown_slices if name != 'all')}",
        )
    chosen: list[list[str | Number | Link]] = [
        [
            titled(name),
            Number.of(tree["choice"]["grid"], 0),
            str(tree["choice"]["selected_on"]),
            Number.of(tree["choice"]["recall"]),
            Number.of(tree["choice"]["seconds"], 1),
            ", ".join(f"{key} {value}" for key, value in tree["choice"]["settings"].items()),
        ]
        for name, tree in run.metrics["baselines"].items()
        if "choice" in tree
    ]
    if chosen:
        yield PageTable(
            "How the baselines' settings were chosen",
            ["baseline", "tried", "selected on", "Recall@20 there", "seconds", "settings"],
            chosen,
            folded=True,
        )


def _data(run: RunFiles) -> Iterator[Block]:
    manifest = run.prepared.manifest
    counts = dict(manifest["counts"])
    users, items = counts["users"], counts["items"]
    interactions = sum(counts[f"{name}_interactions"] for name in ("train", "val", "test"))
    rows: list[list[str | Number | Link]] = [["interactions in all", Number.of(interactions, 0)]]
    rows += [[name.replace("_", " "), Number.of(count, 0)] for name, count in counts.items()]
    rows += [
        ["interactions a user", Number.of(interactions / max(1, users), 2)],
        [
            "sparsity: user-item pairs without one",
            Number.of(1 - interactions / max(1, users * items), 3, percent=True),
        ],
    ]
    yield PageTable("Counts after preparation", ["what", "count"], rows)
    rows = []
    for name in run.prepared.modalities:
        without = counts.get(f"items_without_{name}", 0)
        width = run.prepared.content[name].shape[1]
        rows.append([name, Number.of(width, 0), Number.of(1 - without / max(1, items), 1, percent=True)])
    yield PageTable("Modalities", ["modality", "width of its vectors", "items that have it"], rows)
    inputs = manifest.get("inputs", {})
    if inputs:
        yield PageTable(
            "Input files",
            ["file", "SHA-256"],
            [[path, digest] for path, digest in inputs.items()],
            folded=True,
        )


def _intensity(run: RunFiles) -> Iterator[Block]:
    tree = run.metrics.get("intensity")
    if not tree:
        return
    names = {"mean": "mean", "spread": "standard deviation", "correlation": "correlation with the truth"}
    names |= {"shuffled": "the same, truth shuffled"}
    columns = [name for name in names if name in next(iter(tree.values()))]
    yield PageTable(
        "Learned interest intensities over users (equation 6)",
        ["modality", *(names[name] for name in columns)],
        [[modality, *(Number.of(figures[name], 3) for name in columns)] for modality, figures in tree.items()],
        "How much the users' lists look at each modality; of a user they sum to 1.",
    )


def _frontier(run: RunFiles) -> Iterator[Block]:
    points = run.frontier
    if points is None:
        return
    headings = {
        "share": "share asked for",
        "cold_share": "places of cold items",
        "few_share": "places of items of few clicks",
    }
    percent = ("cold_share", "few_share")
    shown = [name for name in points if name in headings or str(name).startswith(("recall.", "ndcg."))]
    rows: list[list[str | Number | Link]] = []
    for _, point in points.iterrows():
        cells: list[str | Number | Link] = [str(point["share"])]
        for name in shown[1:]:
            value = None if pd.isna(point[name]) else float(point[name])
            cells.append(Number.of(value, 1, percent=True) if name in percent else Number.of(value))
        rows.append(cells)
    named = [headings.get(name) or f"{_METRICS[name.partition('.')[0]]}@20 {name.partition('.')[2]}" for name in shown]
    yield PageTable(
        "Frontier: what shares of cold items in the lists cost and give",
        named,
        rows,
        "hidden: no cold item is listed; trained: nothing is added to what training gave.",
    )


def case_blocks(studies: Sequence[CaseStudy], figures: Sequence[Figure], drawn_among: str) -> Iterator[Block]:
    """Yields the blocks of a page on case studies; there are none without a study.

    Args:
      studies: the case studies.
      figures: the figures of the case studies.
      drawn_among: among whom the users were drawn, in the words before the least history, e.g. "users with".
    """
    if not studies:
        return
    yield Text(
        [
            f"{len(studies)} users, drawn at random with the run's seed among {drawn_among} at least "
            f"{case_study.LEAST_HISTORY} training clicks (without this condition where nobody has so many); they were "
            "not picked for what they show. The bar below an item is what speaks for it: the positive parts of its "
            "score, as shares of their sum."
        ]
    )
    yield from studies
    yield from figures


def _training(run: RunFiles) -> Iterator[Block]:
    finished = run.finished
    figure, best = chosen_by(finished)
    facts = [
        Fact("weights of step", f"{finished['best_step']:,}", f"of {finished['steps']:,} that were trained"),
        Fact(f"validation {figure} there", best, "by which the weights were chosen"),
    ]
    if run.throughput is not None:
        speed = run.throughput["examples_per_second"].median()
        facts.append(Fact("examples a second", f"{speed:,.0f}", "median of the training log"))
        facts.append(Fact("memory of the process", f"{run.throughput['resident_gib'].max():.1f} GiB", "at most"))
    yield Facts(facts)


def _files(run: RunFiles, page_folder: Path, release: Path | None) -> Iterator[Block]:
    entries = {
        CARD: "model card",
        METRICS: "every figure of the evaluation, as JSON",
        CONFIG: "resolved settings, with which the run can be repeated",
        VALIDATIONS: "validations of the training",
        THROUGHPUT: "speed and memory of the training",
        FRONTIER: "the cold-item frontier as a table",
        COMPARISON_FILE: "the latest comparison of versions",
        LISTS: "top-N lists (parquet)",
        FIGURES: "the figures as PNG and SVG",
        "prepared": "prepared data with their manifest",
        "versions.json": "versions of the libraries",
    }
    written = (CARD, FIGURES)
    rows: list[list[str | Number | Link]] = [
        [Link(name, name), what] for name, what in entries.items() if name in written or (run.folder / name).exists()
    ]
    if release is not None:
        rows.append([Link(release.name, _relative(release, page_folder)), "release: towers, index and manifest"])
    yield PageTable("Files", ["file", "what it is"], rows, "Links are relative to this page.")
    if run.versions:
        versions: list[list[str | Number | Link]] = [[name, str(value)] for name, value in run.versions.items()]
        yield PageTable("Versions", ["what", "version"], versions, folded=True)
    yield FoldedText("All settings (config.yaml)", run.settings_text)


def _relative(target: Path, start: Path) -> str:
    return relpath(target, start).replace("\\", "/")


def _named(metric: str) -> str:
    name, _, at = metric.partition("@")
    return f"{_METRICS[name]}@{at}"
