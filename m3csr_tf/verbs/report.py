"""report: presents the results of a finished run as an HTML page, figures and a model card."""

from __future__ import annotations

from pathlib import Path

from m3csr_tf.config import Config
from m3csr_tf.reports.model_card import model_card
from m3csr_tf.reports.page import write_page
from m3csr_tf.reports.run_files import read_run
from m3csr_tf.reports.run_report import CARD, FIGURES, PAGE, run_report
from m3csr_tf.training import runs
from m3csr_tf.util.files import write_text
from m3csr_tf.util.progress import progress
from m3csr_tf.verbs.console import say
from m3csr_tf.verbs.evidence import gather
from m3csr_tf.verbs.load_run import load_run
from m3csr_tf.verbs.tracker import Tracker


def report(config: Config) -> Path:
    """Writes report.html, figures/ and model_card.md into the folder of a run that has been evaluated.

    Returns:
      The path of the page.

    Raises:
      RunError: the run has not finished or has not been evaluated, or its folder cannot be written.
    """
    tracker = Tracker(config)
    trained = load_run(config, judged=True)
    runs.check_figures_fit(trained)
    folder = config.run_folder
    run = read_run(folder, trained.prepared, trained.model.title)
    evidence = gather(trained, run)
    pictures = None if config.data.path is None else Path(config.data.path)
    release = config.release_folder if config.release_folder.is_dir() else None
    with runs.figures_of(trained):
        with progress("drawing figures, figures") as stage:
            page = run_report(run, evidence, folder / FIGURES, folder, release, pictures, stage)
        write_page(page, folder / PAGE)
        write_text(folder / CARD, model_card(run))
    for what, where in {"report": PAGE, "model card": CARD, "figures": FIGURES}.items():
        say(f"{what}: {folder / where}")
    tracker.run()
    return folder / PAGE
