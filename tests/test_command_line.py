"""What the scripts and the command `m3csr` say of themselves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from m3csr_tf.cli import app
from m3csr_tf.main import main

SCRIPTS = sorted(path.stem for path in (Path(__file__).parents[1] / "pipelines").glob("*.py"))


@pytest.mark.parametrize("verb", SCRIPTS)
def test_the_usage_of_a_script_is_what_one_types(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", [f"pipelines/{verb}.py", "--help"])
    for function in ("answer", "done"):  # These are for a process of its own: `done` leaves all signals ignored.
        monkeypatch.setattr(f"m3csr_tf.util.signals.{function}", lambda: None)
    with pytest.raises(SystemExit) as ended:
        main(verb)
    words = capsys.readouterr().out.split()
    assert ended.value.code == 0
    # The script's name is followed by options at once: the verb is not typed a second time.
    assert words[words.index("Usage:") + 1 :][:2] == [f"{verb}.py", "[OPTIONS]"]
    assert "[SECTION.NAME=VALUE]..." in words


@pytest.mark.parametrize("words", [["train"], ["suite"], ["simulate"], ["experiment"], ["release", "verify"]])
def test_the_usage_of_a_verb_shows_settings_in_one_pair_of_brackets(words: list[str]) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"]).output.split()
    assert "[SECTION.NAME=VALUE]..." in shown
    assert "[[SECTION.NAME=VALUE]...]..." not in shown
