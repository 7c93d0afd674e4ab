"""Faults of the kind "terminal": text of users' files that a terminal would obey, or that would flood it.

Ids, names and paths may hold escape sequences (a title, colours, a cleared screen), rich's markup, line breaks that
forge a line of a log, or a megabyte. All of it is printed as text, on one line, and cut.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pandas as pd
import pytest
from rich.table import Table
from small_logs import Logs

from m3csr_tf.util import progress as progress_module
from m3csr_tf.util.progress import progress, say
from m3csr_tf.util.quoting import LONGEST, LONGEST_MESSAGE, one_line, shortened
from m3csr_tf.util.terminal import LogFormatter
from m3csr_tf.verbs import explain, retrieve
from m3csr_tf.verbs import release as release_verb
from m3csr_tf.verbs.console import console

TITLE, MARKUP = "\x1b]0;title\x07", "[red]x[/red]"
ODD = {
    "a window's title": TITLE,
    "a colour": "\x1b[31mred",
    "a cleared screen": "\x1b[2J",
    "an eight-bit sequence": "\x9b31m",
    "a bell": "\a",
    "a line that is written over": "good\rbad",
    "letters from right to left": "\u202eevil",
    "half of a surrogate pair": "\ud800",
    "markup": MARKUP,
    "an end of markup": "[/b]",
    "a link": "[link=http://x]y[/link]",
    "an emoji's name": ":smile:",
}


def as_text(odd: str) -> str:
    """What is to be seen of it: control characters as Python writes them, all else as it is."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in odd)


def harmless(shown: str) -> bool:
    return all(one.isprintable() or one == "\n" for one in shown)


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_lines_cells_and_titles_show_it_as_text(odd: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.print(f"id {odd}")
    table = Table(f"heading {odd}", title=f"title {odd}")
    table.add_row(f"cell {odd}")
    console.print(table)
    say(f"said {odd}")
    shown = capsys.readouterr()
    assert harmless(shown.out + shown.err)
    for place in ("id", "heading", "cell"):
        assert f"{place} {as_text(odd)}" in shown.out
    assert f"said {as_text(odd)}\n" in shown.err


@hypothesis.given(st.text(max_size=30))
@hypothesis.settings(max_examples=200)
def test_no_text_at_all_makes_a_message_of_two_lines_or_a_control_character(text: str) -> None:
    assert one_line(text).isprintable()
    assert LogFormatter("%(message)s").format(record(text)).isprintable()


def record(message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("m3csr_tf", logging.WARNING, __file__, 1, message, args, None)


def test_a_warning_cannot_forge_another_line_of_the_log() -> None:
    line = LogFormatter("%(message)s").format(record("%s: rejected", Path(f"inbox/a\nall is well{TITLE}.csv")))
    assert line == r"inbox/a\nall is well\x1b]0;title\x07.csv: rejected"


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_errors_show_a_path_as_text(logs: Logs, odd: str) -> None:
    logs.overrides["data.path"] = f"/nowhere/{as_text(odd) if not odd.isascii() else odd}"
    done = logs.run("prepare")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and harmless(done.stderr)


@pytest.mark.parametrize("odd", [TITLE, "\x1b[31mred", MARKUP, "[/b]"])
def test_errors_show_an_id_as_text(logs: Logs, odd: str) -> None:
    logs.interactions.loc[3, "item_id"] = odd
    done = logs.run("prepare")
    assert done.exit_code == 2 and as_text(odd) in done.stderr and harmless(done.stderr)


@pytest.mark.parametrize("odd", [TITLE, "\x1b[31mred", MARKUP, "[/b]"])
def test_what_is_prepared_is_said_in_a_folder_of_any_name(logs: Logs, odd: str) -> None:
    logs.overrides["run.folder"] = json.dumps(str(logs.root / f"runs {odd.replace('/', '')}"))
    done = logs.run("prepare")
    assert done.exit_code == 0, done.output
    assert as_text(odd.replace("/", "")) in done.stdout and harmless(done.stdout)


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_example_lists_show_ids_as_text(odd: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if odd == "\ud800":
        pytest.skip("parquet cannot hold it")
    lists = pd.DataFrame({"user_id": odd, "rank": [1], "item_id": f"item {odd}", "score": 0.5, "part_id": 0.5})
    lists.to_parquet(tmp_path / "part-00000.parquet")
    released: Any = SimpleNamespace(layout={"id": slice(0, 2)})
    retrieve._print_examples(tmp_path, released)
    shown = capsys.readouterr().out
    assert f"item {as_text(odd)}" in shown and harmless(shown)


@pytest.mark.parametrize("odd", [TITLE, MARKUP, "[/b]"])
def test_the_list_of_versions_shows_what_a_manifest_says_as_text(
    odd: str,
    release: Any,
    untrained_run: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    [version] = release_verb.versions.listing(release.folder)
    spoilt = dataclasses.replace(version, manifest={**version.manifest, "run": odd, "fingerprint": odd})
    monkeypatch.setattr(release_verb.versions, "listing", lambda _: [spoilt])
    release_verb.list_versions(untrained_run.config)
    shown = capsys.readouterr().out
    assert f"run {as_text(odd)}" in shown and harmless(shown)


@pytest.mark.parametrize("odd", [TITLE, MARKUP, "\x9b31m"])
def test_an_explanation_shows_ids_as_text_and_as_json_that_reads_back(
    odd: str, release: Any, untrained_run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    item = str(release.index.ids[0])
    explain.explain(untrained_run.config, odd, item, json.dumps([odd]), as_json=False)
    shown = capsys.readouterr().out
    assert f"user {as_text(odd)}, unknown" in shown and f"not used: {as_text(odd)}" in shown and harmless(shown)
    explain.explain(untrained_run.config, odd, item, json.dumps([odd]), as_json=True)
    shown = capsys.readouterr().out
    assert harmless(shown) and odd in json.loads(shown)["user"].values()


@pytest.mark.parametrize("odd", [TITLE, MARKUP, "[/b]"])
def test_bars_show_a_stage_s_name_as_text(
    odd: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    with progress(f"stage {odd}") as stage:
        assert progress_module._bars is not None
        stage(1, 2, figures=f"figures {odd}")
        assert progress_module._bars.tasks[0].description == f"stage {as_text(odd)}"
    assert TITLE not in capsys.readouterr().err


@pytest.mark.parametrize("letter", ["x", "\x1b", "[/b]"])
def test_an_id_of_a_megabyte_is_cut_in_errors_and_tables(
    letter: str, logs: Logs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = letter * 1_000_000
    logs.interactions.loc[3, "item_id"] = long
    done = logs.run("prepare")
    assert done.exit_code == 2 and len(done.stderr) < LONGEST_MESSAGE + 100 and done.stderr.count("\n") == 1
    lists = pd.DataFrame({"user_id": long, "rank": [1], "item_id": long, "score": 0.5, "part_id": 0.5})
    (tmp_path / "lists").mkdir()
    lists.to_parquet(tmp_path / "lists" / "part-00000.parquet")
    released: Any = SimpleNamespace(layout={"id": slice(0, 2)})
    retrieve._print_examples(tmp_path / "lists", released)
    assert len(capsys.readouterr().out) < 10_000
    assert len(shortened(long)) < LONGEST + 30


@pytest.mark.parametrize("arguments", [["release", "x" * 100_000], ["settings", "\x1b[31m" * 1000]])
def test_words_of_the_command_line_are_cut_too(arguments: list[str], logs: Logs) -> None:
    done = logs.run(*arguments)
    assert done.exit_code == 2 and len(done.stderr) < LONGEST_MESSAGE and "\x1b[31m" not in done.stderr
