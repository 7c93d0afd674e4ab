"""What the page of an experiment says of the compared model, and how its wide tables fit a browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import Browser
from hostile_logs import TITLE

from m3csr_tf.reports.document import Number, PageSection, PageTable, Report, Text
from m3csr_tf.reports.model_figures import NAMES
from m3csr_tf.reports.page import write_page
from m3csr_tf.training.run_files import settings_of
from m3csr_tf.verbs.experiment_model import model_sections

CELLS = ("films-given", "films-again")


@pytest.fixture(scope="module")
def folder(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """report.html of a run of M3CSR as that of an experiment, with a table that no screen is wide enough for."""
    folder = tmp_path_factory.mktemp("page")
    config = settings_of(run_folder)
    sections = list(model_sections("M3CSR", dict.fromkeys(CELLS, config), folder / "figures"))
    rows = [["a_system_of_a_long_name", *(Number.of(1 / 3) for _ in range(30))]]
    table = PageTable("wide", ["system", *(f"Recall@20, {place}" for place in range(30))], rows)
    write_page(
        Report("An experiment", "One model.", [PageSection("Tables", [table]), *sections]), folder / "report.html"
    )
    return folder


def test_every_figure_of_the_model_has_its_files_and_the_numbers_of_all_splits(folder: Path) -> None:
    files = {path.name for path in (folder / "figures").iterdir()}
    drawn = {f"{name}-{cell}.{ending}" for name in NAMES for cell in CELLS for ending in ("png", "svg")}
    assert files == drawn | {f"{name}.csv" for name in NAMES}
    shares = pd.read_csv(folder / "figures" / "intensities.csv")
    assert shares["cell"].unique().tolist() == list(CELLS)
    np.testing.assert_allclose(shares.drop(columns=["cell", "user_id"]).sum(axis=1), 1, atol=1e-5)
    assert pd.read_csv(folder / "figures" / "gate_by_popularity.csv")["gate"].between(0, 1).all()
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == len(drawn) // 2 and "Left out" not in page and "Its weights are those of step" in page


def test_a_run_that_has_failed_is_said_and_its_old_figures_are_removed(run_folder: Path, tmp_path: Path) -> None:
    for name in ("projection-a.png", "projection-a.svg", "projection.csv", "projection-b.png"):
        (tmp_path / name).touch()
    broken = settings_of(run_folder)
    broken = broken.model_copy(update={"run": broken.run.model_copy(update={"name": "nowhere"})})
    sections = list(model_sections("M3CSR", {"a": None, "c": broken}, tmp_path))
    texts = [block.paragraphs[0] for section in sections for block in section.blocks if isinstance(block, Text)]
    assert texts[0] == "What is inside M3CSR is left out, since its run of seed 0 has failed."
    assert texts[1].startswith("What is inside M3CSR is left out: ") and "nowhere: no run here" in texts[1]
    assert [path.name for path in tmp_path.iterdir()] == ["projection-b.png"]  # Of a split that was not asked for.


@pytest.mark.parametrize("width", [360, 768, 1024, 1440])
def test_what_is_wider_than_the_page_scrolls_within_its_box(width: int, folder: Path, browser: Browser) -> None:
    browser.open(folder / "report.html", width=width)
    assert browser.run("document.documentElement.scrollWidth") <= width and browser.complaints == []
    browser.run('window.box = document.querySelector(".wide")')
    assert browser.run("box.scrollWidth > box.clientWidth && box.getBoundingClientRect().right <= innerWidth")
    browser.run("box.scrollLeft = box.scrollWidth")
    # The last column can be brought into sight, and the name of the row stays in sight.
    for cell in ("td:last-child", "th[scope=row]"):
        inside = f'(r => r.left >= 0 && r.right <= innerWidth)(box.querySelector("{cell}").getBoundingClientRect())'
        assert browser.run(inside), cell
    assert TITLE in browser.run('document.querySelector("main").textContent')
