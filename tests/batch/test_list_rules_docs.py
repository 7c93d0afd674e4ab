"""docs/batch.md: the commands of its section on caps and near-duplicates run, one after the other."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from m3csr_tf.cli import app
from m3csr_tf.releases.release import open_release
from m3csr_tf.training import finished, run_files, runs

PAGE = (Path(__file__).parents[2] / "docs" / "batch.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## Caps and near-duplicates\n")[1].split("\n## ")[0]
COMMANDS = re.findall(r"^python pipelines/((?:release|retrieve|refresh)\.py .*)$", SECTION, re.MULTILINE)
STEP = 1


@pytest.fixture
def place(make_run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the commands name: a finished run of random weights, its configuration, and new authors."""
    run = make_run(tmp_path)
    folder = run_files.open_run(run.config)
    weights = runs.best_weights(folder, STEP)
    runs.weights_checkpoint(run.model).write(str(weights))
    facts = {"best_step": STEP, "steps": STEP, "recall@20": 0.0, "training_seconds": 0.0}
    facts["prepared"] = run_files.data_digest(run.prepared)
    finished.write(folder, facts, run.config.fingerprint(), weights)
    (tmp_path / "CONFIG").write_text(run.config.to_yaml())
    pd.DataFrame({"item_id": ["v000", "v001"], "author": ["somebody", None]}).to_csv(
        tmp_path / "authors.csv", index=False
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_the_page_run(place: Path) -> None:
    assert [command.split(".")[0] for command in COMMANDS] == ["release", "retrieve", "refresh"]
    for command in COMMANDS:
        verb, *arguments = shlex.split(command)
        done = CliRunner().invoke(app, [verb.removesuffix(".py"), *arguments])
        assert done.exit_code == 0, done.output
        if verb == "release.py":
            assert re.search(r"column author: \d values, which 120 of 120 items have", done.output)
            before = open_release(place / "saved_models" / "small")
            authors = dict(zip(before.items.ids, before.items.values(before.items.ids)["author"], strict=True))
    lists = pd.read_parquet(place / "runs" / "small" / "top_n")
    assert lists.assign(author=lists["item_id"].map(authors)).groupby(["user_id", "author"]).size().max() == 2
    release = open_release(place / "saved_models" / "small")
    ids = before.items.ids[:2]
    assert ids.tolist() == ["v000", "v001"] and release.items.values(ids)["author"].tolist() == ["somebody", None]

    refused = CliRunner().invoke(app, ["retrieve", "--config", "CONFIG", "retrieve.cap={sound: 2}"])
    assert refused.exit_code == 2 and "Traceback" not in refused.output
    assert "keeps these columns of the catalogue: author; name one of them, or release again with" in refused.stderr
    assert len(pd.read_parquet(place / "runs" / "small" / "top_n")) == len(lists)
