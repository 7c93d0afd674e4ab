"""docs/cold.md: its commands run one after the other, and do what the page says."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from runs_in_name import finish
from typer.testing import CliRunner

from m3csr_tf import columns
from m3csr_tf.cli import app

PAGE = (Path(__file__).parents[2] / "docs" / "cold.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python pipelines/(\w+)\.py (.*?)(?:\s*#.*)?$", PAGE.replace("\\\n", ""), re.MULTILINE)


def test_the_commands_of_the_page_run_and_do_what_it_says(
    make_run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"users": 60, "items": 60, "clicks": 700, "modalities": {"visual": 4, "acoustic": 3}}
    run = make_run(tmp_path, data={"world": small}, split={"kind": "time"}, evaluation={"bootstrap": 0})
    finish(run)
    (tmp_path / "CONFIG").write_text(run.config.to_yaml())
    fresh = {columns.ITEM_ID: ["fresh"], columns.VIEW_COUNT: [10], columns.PUBLISH_TIME: ["2023-12-13T20:00:00Z"]}
    vectors = {name: [[1.0] * width] for name, width in small["modalities"].items()}
    pd.DataFrame(fresh | vectors).to_parquet(tmp_path / "new.parquet")
    monkeypatch.chdir(tmp_path)
    said = {}
    for verb, words in COMMANDS:
        done = CliRunner().invoke(app, [verb, *shlex.split(words)])
        assert done.exit_code == 0, done.output
        said[verb] = done.output
    assert list(said) == ["evaluate", "frontier", "release", "refresh", "retrieve", "similar"]
    folder = tmp_path / "runs" / "small"
    tree = json.loads((folder / "metrics.json").read_text())
    assert {"age_under_day", "age_day_to_week", "age_over_week", "age_unknown"} <= set(tree["test"])
    assert tree["cold"]["max_views"] == 4000 and tree["cold"]["test"]["time"] > tree["cold"]["val"]["time"]
    assert "test, cold.max_age_hours=24 and cold.max_views=4000: " in said["evaluate"]
    lists = pd.read_parquet(folder / "top_n")
    # The world's videos stop two days before: the fresh one alone is cold, and in every list.
    assert (lists[columns.ITEM_ID] == "fresh").sum() == lists[columns.USER_ID].nunique()
    assert set(pd.read_parquet(folder / "similar_items")[columns.SIMILAR_ITEM_ID]) == {"fresh"}


def test_the_table_of_the_page_has_the_settings_of_the_section() -> None:
    from m3csr_tf.config import described

    table = PAGE.split("| setting | default | meaning |\n")[1].split("\n\n")[0]
    assert re.findall(r"`(cold\.\w+)`", table) == [name for name, *_ in described() if name.startswith("cold.")]
