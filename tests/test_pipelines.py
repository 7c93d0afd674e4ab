"""The scripts end to end, in processes of their own, on a small world: what one types and what one then holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from end_to_end import REPOSITORY, overlap_with_exact, run_script
from typer.testing import CliRunner

from m3csr_tf.cli import app

SMALL = {
    "run": {"name": "small"},
    "data": {"world": {"users": 300, "items": 200, "clicks": 4000, "modalities": {"visual": 12, "acoustic": 8}}},
    "split": {"kind": "random", "cold_share": 0.1},
    "clusters": {"count": 8},
    "model": {"dim": 8},
    "negatives": {"count": 64},
    "training": {"batch_size": 128, "max_steps": 60, "evaluate_every": 20},
    "evaluation": {"baselines": ["popularity", "random", "ridge", "truth"], "bootstrap": 50},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which run_all has run."""
    place = tmp_path_factory.mktemp("pipelines")
    (place / "small.yaml").write_text(yaml.safe_dump(SMALL, sort_keys=False))
    done = run_script("run_all", place, "small.yaml")
    assert done.returncode == 0, done.stderr
    (place / "printed.txt").write_text(done.stdout)
    return place


def test_run_all_leaves_config_versions_metrics_and_a_release(folder: Path) -> None:
    run, release = folder / "runs" / "small", folder / "saved_models" / "small"
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["dim"] == 8
    assert json.loads((run / "versions.json").read_text())["tensorflow"].startswith("2.20")
    for part in ("user_tower", "item_tower"):
        assert (release / part / "1" / "saved_model.pb").exists()
    assert (release / "index" / "1").is_dir()
    assert (release / "manifest.json").exists()


def test_metrics_have_every_slice_for_test_and_validation(folder: Path) -> None:
    metrics = json.loads((folder / "runs" / "small" / "metrics.json").read_text())
    for split in ("test", "val"):
        assert metrics[split]["all"]["users"] > 0
        assert {"recall@20", "precision@20", "ndcg@20", "users"} <= set(metrics[split]["all"])
    assert {"all", "warm", "cold", "few", "tail", "cold_only"} == set(metrics["test"])
    assert {"popularity", "random", "ridge", "truth"} == set(metrics["baselines"])
    assert metrics["val"]["cold"] == {"users": 0}  # A strict cold split leaves validation warm.


def test_the_truth_is_the_ceiling_and_chance_the_floor(folder: Path) -> None:
    metrics = json.loads((folder / "runs" / "small" / "metrics.json").read_text())
    of = {name: baseline["test"]["cold_only"]["ndcg@10"] for name, baseline in metrics["baselines"].items()}
    assert of["truth"] > of["ridge"] > of["random"]


def test_lists_have_parts_that_sum_to_the_score(folder: Path) -> None:
    lists = pd.read_parquet(folder / "runs" / "small" / "top_n")
    parts = ["part_id", "part_visual", "part_acoustic", "part_popularity"]
    assert list(lists.columns) == ["user_id", "rank", "item_id", "score", "model_version", *parts]
    np.testing.assert_allclose(lists[parts].sum(axis=1), lists["score"], atol=1e-4)
    assert lists.groupby("user_id")["rank"].apply(list).map(lambda ranks: ranks == list(range(1, 21))).all()


def test_the_console_shows_metrics_examples_and_where_things_lie(folder: Path) -> None:
    printed = (folder / "printed.txt").read_text()
    for word in ("M3CSR", "popularity", "random", "cold_only", "example lists", "runs/small", "saved_models/small"):
        assert word in printed
    assert "report, to open in a browser: runs/small/report.html" in printed


def test_the_same_command_again_trains_nothing_and_gives_the_same_metrics(folder: Path) -> None:
    before = json.loads((folder / "runs" / "small" / "metrics.json").read_text())
    for verb in ("train", "evaluate"):
        done = run_script(verb, folder, "small.yaml")
        assert done.returncode == 0, done.stderr
    assert json.loads((folder / "runs" / "small" / "metrics.json").read_text()) == before


def test_a_users_file_of_ones_own_gets_lists_for_strangers_too(folder: Path) -> None:
    users = pd.DataFrame({"user_id": ["u000", "stranger"], "history": [["v000", "v001"], []]})
    users.to_parquet(folder / "users.parquet")
    done = run_script(
        "retrieve",
        folder,
        "small.yaml",
        "retrieve.users=users.parquet",
        "retrieve.output=out.parquet",
        "retrieve.top_n=7",
    )
    assert done.returncode == 0, done.stderr
    lists = pd.read_parquet(folder / "out.parquet")
    assert lists.groupby("user_id").size().to_dict() == {"u000": 7, "stranger": 7}
    assert not set(lists[lists["user_id"] == "u000"]["item_id"]) & {"v000", "v001"}


def test_two_processes_share_the_lists_and_the_second_puts_them_in_place(folder: Path) -> None:
    output = folder / "shared"
    settings = [f"run.folder={folder / 'runs'}", f"run.release_folder={folder / 'saved_models'}"]
    settings += [f"retrieve.output={output}", "retrieve.shard_users=100", "retrieve.cold_quota=0.2"]
    printed = []
    for share in ("1/2", "2/2"):
        assert not output.exists()
        command = ["retrieve", "--config", str(folder / "small.yaml"), "--shard", share, *settings]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        printed.append(" ".join(result.output.split()))
    assert "shard 1/2 is done: 2 of 3 parts made now; 1 parts of other shards are missing" in printed[0]
    assert "6,000 rows for 300 users" in printed[1] and "example lists" in printed[1]
    lists = pd.read_parquet(output)
    cold = set(pd.read_parquet(folder / "runs" / "small" / "prepared" / "items.parquet").query("is_cold")["item_id"])
    assert (lists[lists["item_id"].isin(cold)].groupby("user_id").size() >= 4).all()
    assert lists["user_id"].nunique() == 300


@pytest.mark.parametrize("share", ["0/2", "3/2", "2", "a/b"])
def test_a_share_that_is_none_is_one_message(share: str) -> None:
    result = CliRunner().invoke(app, ["retrieve", "--shard", share])
    assert result.exit_code == 2
    assert result.stderr == f"error: retrieve.shard must be i/n with i from 1 to n, e.g. 2/3, got {share!r}\n"


def test_lists_agree_with_exact_ranking_by_the_keras_model_under_either_index(folder: Path) -> None:
    for kind in ("exact", "tree"):
        for verb in ("release", "retrieve"):
            done = run_script(verb, folder, "small.yaml", f"index.kind={kind}", "retrieve.output=again.parquet")
            assert done.returncode == 0, done.stderr
        overlap = overlap_with_exact(folder / "runs" / "small", folder / "again.parquet")
        assert overlap >= 0.98, kind


HELP = """
import contextlib, io, json, runpy, sys

said = {}
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            said[script] = [end.code, printed.getvalue()]
print(json.dumps(said))
"""
VERBS = {path.stem: str(path) for path in sorted((REPOSITORY / "pipelines").glob("*.py"))}
OPTIONS = {"sweep": ["--space", "--trials"]}
"""What the help of a verb names beside what all of them name."""


@pytest.fixture(scope="module")
def helps() -> dict[str, tuple[int, str]]:
    """Verb -> exit code and output of its script with --help: in one process, most of whose time goes into imports."""
    command = [sys.executable, "-c", HELP, *VERBS.values()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    return {verb: said[path] for verb, path in VERBS.items()}


@pytest.mark.parametrize("verb", VERBS)
def test_help_says_what_a_script_does_and_takes(verb: str, helps: dict[str, tuple[int, str]]) -> None:
    code, printed = helps[verb]
    assert code == 0
    for option in ("--config", *OPTIONS.get(verb, [])):
        assert option in printed
    assert "SECTION.NAME=VALUE" in printed.replace("\n", "")


def test_a_mistyped_setting_exits_with_two_and_one_line(folder: Path) -> None:
    done = run_script("train", folder, "small.yaml", "training.steps=3")
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["error: unknown setting training.steps; `m3csr settings` lists all"]
