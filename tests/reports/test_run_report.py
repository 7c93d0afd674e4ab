"""report on finished runs: what it writes and refuses, and what a reader sees, clicks and types in a browser."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest
from browser import Browser
from hostile_logs import HOSTILE, TITLE
from small_logs import Logs

from m3csr_tf.reports.document import Number, PageSection, PageTable, Report
from m3csr_tf.reports.page import write_page
from m3csr_tf.reports.run_figures import NAMES
from m3csr_tf.reports.words import systems_of

VALUES = """[...document.querySelectorAll("table.sortable")].map(table => [...table.tBodies[0].rows].map(
    row => [...row.cells].map(cell => cell.dataset.value ?? cell.textContent.trim())))"""
FIRST_NUMBER = 'document.querySelector("table.sortable th.number button")'
NDCG = """[...document.querySelectorAll("table.sortable th button")].find(one => one.textContent === "NDCG@20")"""


@pytest.fixture
def copied(reported: Logs, tmp_path: Path) -> Logs:
    """A copy of the run to change; its input stays where it was."""
    logs = Logs(tmp_path)
    shutil.copytree(reported.root / "runs", tmp_path / "runs", symlinks=True)
    shutil.rmtree(logs.folder)
    logs.folder = reported.folder
    logs.overrides |= reported.overrides | {"run.folder": str(tmp_path / "runs")}
    return logs


def folder_of(logs: Logs) -> Path:
    return logs.root / "runs" / "case"


def test_run_all_leaves_a_page_figures_and_a_card(run_folder: Path) -> None:
    figures = {path.name for path in (run_folder / "figures").iterdir()}
    assert figures == {f"{name}.{ending}" for name in NAMES if name != "frontier" for ending in ("png", "svg")}
    page = (run_folder / "report.html").read_text()
    assert page.startswith("<!doctype html>") and "Run case" in page
    assert page.count("<svg") == len(figures) // 2
    assert (run_folder / "model_card.md").exists()


def test_figures_of_the_page_are_those_of_the_metrics_with_their_intervals(run_folder: Path) -> None:
    page = (run_folder / "report.html").read_text()
    metrics = json.loads((run_folder / "metrics.json").read_text())
    for of_system in (metrics["test"], *(tree["test"] for tree in metrics["baselines"].values())):
        low, high = of_system["all"]["ci"]["recall@20"]
        shown = f'data-value="{of_system["all"]["recall@20"]}">{of_system["all"]["recall@20"]:.4f}'
        assert f'{shown}<span class="interval">{low:.4f} to {high:.4f}</span>' in page


def test_titles_addresses_and_pictures_of_the_catalogue_are_shown_and_nothing_else_is_opened(
    run_folder: Path, items: pd.DataFrame
) -> None:
    assert items["title"].iloc[0] == f"{TITLE} 0" and items["item_id"].iloc[0] == HOSTILE
    page = (run_folder / "report.html").read_text()
    # Only the first item's picture lies in the folder of the logs, and is there.
    pictures = page.count("data:image/jpeg;base64,")
    shown = page.count(
        f'title="{HOSTILE.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace(chr(34), "&#34;")}"'
    )
    assert pictures == shown > 0
    assert "https://example.org/watch?v=1" in page and "javascript:" not in page and "far.png" not in page


def test_the_card_has_the_test_figures_with_intervals_and_how_the_weights_were_chosen(run_folder: Path) -> None:
    card = (run_folder / "model_card.md").read_text()
    metrics = json.loads((run_folder / "metrics.json").read_text())
    every = metrics["test"]["all"]
    low, high = every["ci"]["ndcg@20"]
    assert f"| M3CSR | all | {every['users']} |" in card
    assert f"{every['ndcg@20']:.4f} [{low:.4f}, {high:.4f}] |" in card
    finished = json.loads((run_folder / "finished.json").read_text())
    assert f"those of step {finished['best_step']}" in card and f"{finished['recall@20']:.4f}" in card
    bar = "by more than 1.0% and by more than one standard error of the difference over the same users"
    assert f"which no later validation bettered {bar}." in card
    for heading in ("What it is for", "Data", "How it was trained and chosen", "Figures on the test split", "Limits"):
        assert f"\n## {heading}\n" in card
    assert "synthetic" not in card and f"The slice all has {every['users']} users; its figures are rough." in card


def test_what_a_model_or_a_run_lacks_is_left_out_and_said(copied: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    from m3csr_tf.models.m3csr.model import M3CSR

    # As a model says that weighs no modalities and has no gate, and as the metrics of its run are.
    monkeypatch.setattr(M3CSR, "weighs_modalities", False)
    monkeypatch.setattr(M3CSR, "explains", False)
    folder = folder_of(copied)
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["intensity"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "logs" / "validations.csv").unlink()
    (folder / "top_n").unlink()
    result = copied.run("report")
    assert result.exit_code == 0, result.output
    page = (folder / "report.html").read_text()
    assert "Interest intensities: the model has none" in page and "Popularity gate: the model has none" in page
    assert "Case study: the run has no lists with parts of scores; run pipelines/retrieve.py first" in page
    assert "Training curves: the training logged no validation" in page
    left = {path.stem for path in (folder / "figures").iterdir()}
    of_model = {"intensities", "gate_by_popularity"}
    assert left == {*NAMES} - of_model - {"case_study", "training_curves", "quality_time", "frontier"}


def test_no_interval_is_spoken_of_where_none_was_drawn(copied: Logs) -> None:
    folder = folder_of(copied)
    for name in ("report.html", "model_card.md"):
        assert "95% bootstrap intervals" in (folder / name).read_text()
    # As evaluation.bootstrap=0 leaves them.
    metrics = json.loads((folder / "metrics.json").read_text())
    for tree in (metrics, *metrics["baselines"].values()):
        for slices in (tree[split] for split in ("val", "test") if split in tree):
            for figures in slices.values():
                figures.pop("ci", None)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    result = copied.run("report")
    assert result.exit_code == 0, result.output
    page, card = (folder / "report.html").read_text(), (folder / "model_card.md").read_text()
    assert "bootstrap intervals" not in page + card and "the intervals say" not in page + card
    assert "without intervals, since evaluation.bootstrap was 0" in page


def test_a_model_that_is_called_like_a_baseline_is_shown_beside_it() -> None:
    metrics = {"test": {"all": {"users": 1}}, "baselines": {"ease": {"test": {"all": {"users": 2}}}}}
    run: Any = SimpleNamespace(model="ease", metrics=metrics)
    assert systems_of(run) == {"ease (model)": {"all": {"users": 1}}, "ease": {"all": {"users": 2}}}


def test_a_frontier_is_shown_once_it_has_been_made(copied: Logs) -> None:
    folder = folder_of(copied)
    assert "run pipelines/frontier.py, then pipelines/report.py" in (folder / "report.html").read_text()
    pd.DataFrame(
        {
            "share": ["hidden", "0.1"],
            "cold_share": [0.0, 0.1],
            "few_share": [0.0, 0.0],
            "recall.all": [0.2, 0.25],
            "ndcg.all": [0.1, 0.125],
            "random_cold_recall": [None, None],
        }
    ).to_csv(folder / "frontier.csv", index=False)
    result = copied.run("report")
    assert result.exit_code == 0, result.output
    page = (folder / "report.html").read_text()
    assert "Recall@20 all" in page and 'data-value="0.125"' in page
    assert (folder / "figures" / "frontier.svg").exists()


def test_a_comparison_of_versions_is_shown_once_it_has_been_made(copied: Logs) -> None:
    folder = folder_of(copied)
    assert "run pipelines/release.py compare, then pipelines/report.py" in (folder / "report.html").read_text()
    # The release came from the run, so that both give the same lists.
    made = copied.run("release", "compare", "run")
    assert made.exit_code == 0, made.output
    result = copied.run("report")
    assert result.exit_code == 0, result.output
    page = (folder / "report.html").read_text()
    assert ">Versions compared</h2>" in page and "From version 1 to run case of release case" in page
    assert "Overlap of lists at 20: 1.000 of the places on average" in page
    tree = json.loads((folder / "comparison.json").read_text())
    for figure in tree["figures"]["run case"].values():
        assert f'data-value="{figure}"' in page or figure == tree["figures"]["run case"]["listed_places"]
    tree["quality"] = {
        "recall@20": {
            "users": 1234, "first": 0.25, "second": 0.3, "difference": 0.05, "low": 0.04, "high": 0.06, "p_value": 1e-5
        }
    }  # fmt: skip
    tree["notes"] = ["of <b>another</b> night"]
    (folder / "comparison.json").write_text(json.dumps(tree))
    assert copied.run("report").exit_code == 0
    page = (folder / "report.html").read_text()
    assert 'data-value="0.05">0.0500<span class="interval">0.0400 to 0.0600</span>' in page and ">1e-05<" in page
    assert "Note: of &lt;b&gt;another&lt;/b&gt; night." in page
    copied.overrides |= {"model.dim": "6", "run.overwrite": "true"}
    assert copied.run("prepare").exit_code == 0
    assert not (folder / "comparison.json").exists()


@pytest.mark.parametrize("spoilt", ["users", "first", "notes"])
def test_a_comparison_that_lacks_a_field_is_one_message(spoilt: str, copied: Logs) -> None:
    assert copied.run("release", "compare", "run").exit_code == 0
    path = folder_of(copied) / "comparison.json"
    tree = json.loads(path.read_text())
    del tree[spoilt]
    path.write_text(json.dumps(tree))
    result = copied.run("report")
    assert result.exit_code == 2 and "comparison.json: it is broken" in result.stderr
    assert result.stderr.count("\n") == 1 and "run pipelines/release.py compare again" in result.stderr


def test_a_run_that_was_not_evaluated_is_one_message_and_nothing_is_written(copied: Logs) -> None:
    folder = folder_of(copied)
    (folder / "metrics.json").unlink()
    before = (folder / "report.html").read_bytes()
    result = copied.run("report")
    assert result.exit_code == 2
    assert result.stderr.strip().endswith("the run has no metrics.json to report; run pipelines/evaluate.py first")
    assert (folder / "report.html").read_bytes() == before


def test_a_run_with_other_settings_is_refused_with_the_file_that_has_its_own(copied: Logs) -> None:
    copied.overrides["model.dim"] = "6"
    result = copied.run("report")
    own = folder_of(copied) / "config.yaml"
    assert result.exit_code == 2 and f"(--config {own})" in result.stderr
    copied.overrides = {name: copied.overrides[name] for name in ("run.folder", "data.path")}
    assert copied.run("report", "--config", str(own)).exit_code == 0


@pytest.mark.parametrize("file", ["metrics.json", "logs/validations.csv", "frontier.csv", "comparison.json"])
def test_a_broken_file_is_one_message_that_names_it(file: str, copied: Logs) -> None:
    (folder_of(copied) / file).write_bytes(b'{"test": 3}\xff\n"')
    result = copied.run("report")
    assert result.exit_code == 2
    assert file in result.stderr and result.stderr.count("\n") == 1


def test_a_run_that_is_replaced_loses_its_report(copied: Logs) -> None:
    folder = folder_of(copied)
    copied.overrides |= {"model.dim": "6", "run.overwrite": "true"}
    assert copied.run("prepare").exit_code == 0
    left = {path.name for path in folder.iterdir()}
    assert not left & {"report.html", "model_card.md", "figures", "metrics.json"}


@pytest.fixture
def page(run_folder: Path) -> Path:
    return run_folder / "report.html"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 768, 1440])
def test_the_page_fits_any_screen_without_scrolling_sideways_and_without_complaints(
    width: int, dark: bool, page: Path, browser: Browser
) -> None:
    browser.open(page, width=width, dark=dark)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.complaints == []
    light = browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert light is not dark


def test_it_asks_for_nothing_from_anywhere(page: Path, browser: Browser) -> None:
    browser.open(page)
    assert [address for address in browser.requests if not address.startswith("data:")] == []


def test_a_browser_that_complains_would_be_noticed(tmp_path: Path, browser: Browser) -> None:
    # Without this, a driver that hears nothing would pass every test above.
    spoilt = tmp_path / "spoilt.html"
    spoilt.write_text('<img src="nowhere.png"><script>console.error("said"); missing()</script>')
    browser.open(spoilt)
    said = "".join(browser.complaints)
    assert "said" in said and "missing is not defined" in said
    assert any(address.endswith("nowhere.png") for address in browser.requests)


def test_wide_tables_scroll_within_themselves_on_a_phone(page: Path, browser: Browser) -> None:
    browser.open(page, width=360)
    script = '[...document.querySelectorAll(".wide")].some(one => one.scrollWidth > one.clientWidth + 20)'
    assert browser.run(script)
    assert browser.run('[...document.querySelectorAll(".wide")].every(one => one.clientWidth <= 360)')


def test_a_click_on_a_heading_sorts_by_value_and_another_turns_it_round(page: Path, browser: Browser) -> None:
    browser.open(page)
    before = browser.run(VALUES)[0]
    column = browser.run(f'{NDCG}.closest("th").cellIndex')
    values = [float(row[column]) for row in before]
    assert len(set(values)) > 1
    browser.run(f"{NDCG}.click()")
    assert [float(row[column]) for row in browser.run(VALUES)[0]] == sorted(values, reverse=True)
    assert browser.run(f'{NDCG}.closest("th").ariaSort') == "descending"
    browser.run(f"{NDCG}.click()")
    after = browser.run(VALUES)[0]
    assert [float(row[column]) for row in after] == sorted(values)
    assert sorted(after) == sorted(before)
    browser.run('document.querySelector("table.sortable th button").click()')
    names = [row[0] for row in browser.run(VALUES)[0]]
    assert names == sorted(names, key=str.lower)
    assert browser.run('document.querySelectorAll("table.sortable:first-of-type th[aria-sort]").length') == 1


def test_numbers_are_sorted_as_numbers_and_what_is_none_comes_last(tmp_path: Path, browser: Browser) -> None:
    # As text, "10" would come before "9", and "1,000" before both.
    rows = [[str(value), Number.of(value, 0)] for value in (9, None, 1000, -5, 10)]
    write_page(Report("t", "s", [PageSection("x", [PageTable("c", ["name", "n"], rows)])]), tmp_path / "page.html")
    browser.open(tmp_path / "page.html")
    shown = []
    for _ in range(2):
        browser.run(f"{FIRST_NUMBER}.click()")
        shown.append([row[0] for row in browser.run(VALUES)[0]])
    assert shown == [["1000", "10", "9", "-5", "None"], ["-5", "9", "10", "1000", "None"]]


def test_a_table_is_sorted_from_the_keyboard(page: Path, browser: Browser) -> None:
    browser.open(page)
    column = browser.run(f'{NDCG}.closest("th").cellIndex')
    values = [float(row[column]) for row in browser.run(VALUES)[0]]
    browser.run(f'{NDCG}.closest("th").previousElementSibling.querySelector("button").focus()')
    browser.press("Tab")
    browser.press("Enter")
    assert [float(row[column]) for row in browser.run(VALUES)[0]] == sorted(values, reverse=True)


def test_ids_and_titles_are_text_whatever_markup_they_hold(page: Path, browser: Browser) -> None:
    browser.open(page)
    assert browser.run('document.querySelectorAll("script").length') == 1
    assert browser.run('document.querySelectorAll("[onclick], main b").length') == 0
    seen = browser.run('document.querySelector("main").textContent')
    assert TITLE in seen and HOSTILE in seen
    assert browser.run("""[...document.querySelectorAll("a")].every(a => /^(https?:|file:)/.test(a.href))""")


def test_every_link_leads_to_a_file_or_to_the_web(page: Path, browser: Browser) -> None:
    browser.open(page)
    links = browser.run('[...document.querySelectorAll("a")].map(a => a.getAttribute("href"))')
    assert len(links) > 20
    for link in links:
        if not link.startswith(("#", "https://example.org/")):
            assert (page.parent / unquote(link)).exists(), link


def test_figures_have_axes_with_labels_and_text_that_can_be_read_on_a_phone(page: Path, browser: Browser) -> None:
    browser.open(page, width=360)
    script = """[...document.querySelectorAll("figure")].map(figure => ({
        caption: figure.querySelector("figcaption").textContent,
        text: [...figure.querySelectorAll("svg text")].map(one => one.textContent),
        scale: figure.querySelector("svg").getScreenCTM().a})).map(one => ({...one, pixels: 9 * one.scale}))"""
    figures = browser.run(script)
    labels = {
        "Systems side by side": ["Recall@20", "system"],
        "Recall by modalities": ["Recall@N", "length of the list, N"],
        "NDCG by modalities": ["NDCG@N", "length of the list, N"],
        "Interest intensities": ["user", "interest intensity, share of the user's whole"],
        "t-SNE": ["t-SNE, first axis", "t-SNE, second axis"],
        "Recall by popularity": ["training clicks of the item"],
        "Popularity gate": ["training clicks of the item"],
        "What speaks for each item": ["part of the score, in the score's own unit"],
        "Training": ["training step", "on validation users"],
        "Quality against training time": ["training time, seconds", "validation Recall@20"],
    }
    for title, wanted in labels.items():
        [figure] = [one for one in figures if one["caption"].strip().startswith(title)]
        assert {*wanted} <= {*figure["text"]}, title
        assert figure["pixels"] >= 8, title  # Of the smallest text, which has 9 points.
    assert len(figures) == len(labels)
    ids = browser.run('[...document.querySelectorAll("[id]")].map(one => one.id)')
    assert len(ids) == len({*ids})
