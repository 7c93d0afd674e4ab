"""The whole pipeline on real logs: the public TikTok split, with the settings that the product ships."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from end_to_end import REPOSITORY, overlap_with_exact, run_script

CONFIG = REPOSITORY / "pipelines" / "configs" / "tiktok.yaml"


@pytest.fixture(scope="module")
def folder(tiktok_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which run_all has run on the TikTok logs."""
    place = tmp_path_factory.mktemp("tiktok")
    done = run_script("run_all", place, CONFIG, f"data.path={tiktok_folder}", "index.kind=exact")
    assert done.returncode == 0, done.stderr
    return place


def test_the_shipped_settings_reach_their_validation_figure(folder: Path) -> None:
    metrics = json.loads((folder / "runs" / "tiktok" / "metrics.json").read_text())
    assert metrics["val"]["all"]["recall@20"] >= 0.105
    assert metrics["val"]["all"]["users"] == 3051 and metrics["test"]["all"]["users"] == 6130
    assert metrics["test"]["cold"]["users"] == 449  # Each user has one test click; 449 are on items never clicked.


@pytest.mark.parametrize("kind", ["exact", "tree"])
def test_lists_agree_with_exact_ranking_by_the_keras_model(kind: str, folder: Path, tiktok_folder: Path) -> None:
    lists = folder / "runs" / "tiktok" / "top_n"
    if kind == "tree":
        lists = folder / "tree.parquet"
        settings = (f"data.path={tiktok_folder}", "index.kind=tree", f"retrieve.output={lists}")
        for verb in ("release", "retrieve"):
            done = run_script(verb, folder, CONFIG, *settings)
            assert done.returncode == 0, done.stderr
    assert overlap_with_exact(folder / "runs" / "tiktok", lists) >= 0.98
