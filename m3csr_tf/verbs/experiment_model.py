"""The sections of an experiment's page about the compared model: figures as in a run's report, from seed 0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from m3csr_tf.config import Config
from m3csr_tf.errors import M3CSRError
from m3csr_tf.experiments.comparison import curves
from m3csr_tf.reports import case_study
from m3csr_tf.reports.document import Block, Figure, PageSection, Text
from m3csr_tf.reports.figures.style import save
from m3csr_tf.reports.model_figures import CASE, NAMES, model_figures
from m3csr_tf.reports.run_files import read_run
from m3csr_tf.reports.run_report import case_blocks
from m3csr_tf.util.progress import progress
from m3csr_tf.verbs.evidence import gather_of_experiment
from m3csr_tf.verbs.load_run import load_run

_DRAWN_AMONG = "test users with"
"""Among whom the users of the case study are drawn, as `case_blocks` says it before the least length of a history."""


@dataclass(frozen=True)
class ModelPart:
    """The content of the page about the model on one cell, a data set with a split.

    Attributes:
      figures: blocks of the figures, and a sentence about those that the model lacks.
      case: blocks of the case study; empty if there is none.
      tables: name of a figure -> the numbers that it shows.
    """

    figures: list[Block]
    case: list[Block] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)


def model_sections(title: str, chosen: Mapping[str, Config | None], folder: Path) -> Iterator[PageSection]:
    """Yields the sections of all cells, and writes the figures as PNG and SVG and their numbers as CSV.

    A CSV file holds the numbers of all cells. A run that cannot be opened becomes a sentence on the page, so that the
    report of hours of other runs does not fail with it.

    Args:
      title: the name of the model in tables.
      chosen: cell -> the configuration of the run of seed 0; None if that run has failed.
      folder: the folder of the figures.
    """
    tables: dict[str, list[pd.DataFrame]] = {}
    for cell, config in chosen.items():
        try:
            part = _failed(title) if config is None else _part(title, cell, config, folder)
        except M3CSRError as error:
            part = ModelPart([Text([f"What is inside {title} is left out: {error}"])])
        for name in NAMES:
            if name in part.tables:
                part.tables[name].insert(0, "cell", cell)
                tables.setdefault(name, []).append(part.tables[name])
            else:  # A figure that an earlier call has written is removed, since it no longer applies.
                for ending in ("png", "svg"):
                    (folder / f"{name}-{cell}.{ending}").unlink(missing_ok=True)
        yield PageSection(f"Inside {title}: {cell}", part.figures)
        yield PageSection(f"Case study: {cell}", part.case)
    for name in NAMES:
        (folder / f"{name}.csv").unlink(missing_ok=True)
    curves.write(tables, folder)


def _failed(title: str) -> ModelPart:
    return ModelPart([Text([f"What is inside {title} is left out, since its run of seed 0 has failed."])])


def _part(title: str, cell: str, config: Config, folder: Path) -> ModelPart:
    trained = load_run(config)
    run = read_run(config.run_folder, trained.prepared, title)
    evidence = gather_of_experiment(trained, run)
    pictures = None if config.data.path is None else Path(config.data.path)
    studies = []
    if evidence.lists is not None and len(evidence.lists):
        studies = case_study.studies(
            evidence.lists, run.prepared, config.run.seed, evidence.histories, evidence.case_intensities, pictures
        )
    found: dict[str, Figure] = {}
    tables = {}
    with progress(f"drawing {title} on {cell}, figures") as stage:
        plans = list(model_figures(evidence, studies, config.run.seed))
        for position, one in enumerate(plans):
            stage(position, len(plans))
            canvas, tables[one.name] = one.draw()
            found[one.name] = Figure(one.title, one.caption, save(canvas, folder, f"{one.name}-{cell}"))
    of_case = [found.pop(CASE)] if CASE in found else []
    best, steps = run.finished["best_step"], run.finished["steps"]
    sentence = (
        f"Of the run {run.name}, the first seed of the settings that were chosen. Its weights are those of step "
        f"{best:,} of {steps:,}{'' if best else ': no later validation was better than that of the initial weights'}."
    )
    lacking = "; ".join(f"{name}: {why}" for name, why in evidence.lacking.items())
    blocks: list[Block] = [Text([sentence + (f" Left out. {lacking}." if lacking else "")]), *found.values()]
    return ModelPart(blocks, list(case_blocks(studies, of_case, _DRAWN_AMONG)), tables)
