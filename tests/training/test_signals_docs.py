"""docs/signals.md: its commands run, from likes and watch time to figures by kind and by weight."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from m3csr_tf.cli import app

PAGE = (Path(__file__).parents[2] / "docs" / "signals.md").read_text(encoding="utf-8").replace("\\\n", "")
COMMANDS = [shlex.split(line, comments=True) for line in re.findall(r"^python pipelines/(.*)$", PAGE, re.MULTILINE)]
SMALL = [
    "data.world.users=60",
    "data.world.items=40",
    "data.world.clicks=400",
    "data.world.modalities={visual: 4}",
    "data.world.like_rate=0.4",
    "clusters.count=4",
    "training.max_steps=2",
    "training.batch_size=32",
    "training.cross_fit=0",
    "model.dim=4",
    "model.id_dim=4",
    "ials.grid=[[5,25]]",
    "evaluation.bootstrap=0",
    "run.threads=1",
]


def test_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outputs, likers = [], 0
    for script, *arguments in COMMANDS:
        verb = script.removesuffix(".py")
        done = CliRunner().invoke(app, [verb, *arguments, *([] if "--config" in arguments else SMALL)])
        assert done.exit_code == 0, f"{arguments}: {done.output} {done.exception}"
        outputs.append(done.output)
        if verb == "evaluate":
            metrics = json.loads((tmp_path / "runs" / "liked" / "metrics.json").read_text())["test"]
            kinds = {"kind_click", "kind_like", "kind_follow"}
            if "evaluation.kinds=[like]" in arguments:
                assert not kinds & set(metrics) and metrics["all"]["users"] == likers
            else:
                assert kinds <= set(metrics)
                likers = metrics["kind_like"]["users"]
                assert 0 < likers < metrics["all"]["users"]
            assert metrics["all"]["weight@20"] > 0
    liked, _, _, watched = outputs
    assert "positives are drawn by weight (training.by_weight)" in liked
    assert re.search(r"best validation weighted recall@20 0\.\d+ at step", liked)
    assert "a half-life of 14 days" in watched and "is below 3" in watched
    finished = json.loads((tmp_path / "runs" / "watched" / "finished.json").read_text())
    assert finished["selected_by"] == "weighted_recall@20" and 0 <= finished["weighted_recall@20"] <= 1
    validations = (tmp_path / "runs" / "watched" / "logs" / "validations.csv").read_text().splitlines()
    assert validations[0] == "step,loss,recall@20,ndcg@20,weighted_recall@20,standard_error_of_rise"


def test_the_page_has_the_four_commands() -> None:
    assert [script for script, *_ in COMMANDS] == ["train.py", "evaluate.py", "evaluate.py", "train.py"]
