"""docs/similar.md: its commands run, and its JSON and table are those of the verb."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from m3csr_tf import columns
from m3csr_tf.batch.similar import similar
from m3csr_tf.cli import app
from m3csr_tf.config import SimilarConfig

PAGE = (Path(__file__).parents[2] / "docs" / "similar.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python pipelines/(similar\.py .*?)(?:\s*#.*)?$", PAGE, re.MULTILINE)


@pytest.fixture
def place(release: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the commands name: the configuration, ids, and a video with content."""
    run = {"name": release.folder.name, "folder": str(tmp_path / "runs"), "release_folder": str(release.folder.parent)}
    (tmp_path / "CONFIG").write_text(yaml.safe_dump({"run": run}))
    (tmp_path / "ids.txt").write_text("\n".join(release.items.ids[:5]))
    content = {name: list(vectors) for name, vectors in release.items.content(release.items.ids[10:11]).items()}
    pd.DataFrame({columns.ITEM_ID: ["new0"], **content}).to_parquet(tmp_path / "new_videos.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_commands() -> None:
    assert len(COMMANDS) == 5


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_runs(command: str, release: Any, place: Path) -> None:
    done = CliRunner().invoke(app, shlex.split(command.replace("similar.py", "similar").replace("v0042", "v042")))
    assert done.exit_code == 0, done.output
    if "--item" not in command:
        of_file = "ids.txt" in command
        lists = pd.read_parquet(place / "runs" / release.folder.name / "similar_items")
        assert lists[columns.ITEM_ID].nunique() == (5 if of_file else 120)
    elif "--json" in command:
        said = json.loads(done.stdout)
        page = json.loads(PAGE.split("```json\n")[1].split("```")[0])
        assert list(said) == list(page) and list(said["similar"][0]) == list(page["similar"][0])
        assert list(said["item"]) == list(page["item"]) and said["by"] == page["by"]


def test_the_table_of_the_page_has_the_columns_of_the_lists(release: Any, tmp_path: Path) -> None:
    similar(release, None, tmp_path / "lists", SimilarConfig(top_n=1))
    lists = pd.read_parquet(tmp_path / "lists")
    table = PAGE.split("| column | what it is |\n")[1].split("\n\n")[0]
    named = [name for name in re.findall(r"`(\w+)`", table) if name in lists or name.startswith("part_")]
    assert named == list(lists.columns[: len(named)]) and len(named) == 7
