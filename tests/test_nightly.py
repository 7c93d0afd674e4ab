"""The same command, night after night: what happens when logs, settings or the trained weights have changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_logs import Logs

SMALL = {
    "model.dim": "4",
    "training.batch_size": "8",
    "training.max_steps": "4",
    "training.evaluate_every": "2",
    "training.patience": "4",
    "negatives.count": "4",
    "evaluation.bootstrap": "0",
}


# Relative to the folder that the verbs are started in, so that a copy of it holds the same run on the same logs.
PLACES = {"data.path": "logs", "run.folder": "runs", "run.release_folder": "saved_models"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    """Logs on which run_all has run, shared: do not change them."""
    logs = Logs(tmp_path_factory.mktemp("nightly"))
    logs.overrides |= SMALL | PLACES
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(logs.root)
        result = logs.run("run_all")
    assert result.exit_code == 0, result.output
    return logs


@pytest.fixture
def logs(whole: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Logs:
    """A copy of them and of the run, to change; the verbs are started in its folder."""
    logs = Logs(tmp_path)
    logs.overrides |= SMALL | PLACES
    shutil.copytree(whole.root, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return logs


def other_order(logs: Logs) -> None:
    """Exports the same catalogue again, in another order of its rows."""
    logs.catalogue.iloc[::-1].to_parquet(logs.folder / "catalogue.parquet")


@pytest.mark.parametrize("verb", ["prepare", "run_all"])
def test_new_logs_under_a_trained_run_are_refused_and_the_run_is_kept(verb: str, logs: Logs) -> None:
    before = {name: (logs.root / name).read_bytes() for name in logs.written() if (logs.root / name).is_file()}
    other_order(logs)
    result = logs.run(verb)
    assert result.exit_code == 2
    assert "have changed" in result.stderr and "run.overwrite=true" in result.stderr
    assert {name: (logs.root / name).read_bytes() for name in before} == before


def test_with_overwrite_new_logs_are_trained_on_anew(logs: Logs) -> None:
    finished = logs.root / "runs" / "case" / "finished.json"
    before = json.loads(finished.read_text())
    other_order(logs)
    logs.overrides["run.overwrite"] = "true"
    assert logs.run("train").exit_code == 0
    after = json.loads(finished.read_text())
    assert after["prepared"] != before["prepared"] and after["steps"] == before["steps"]


def test_weights_are_not_opened_beside_other_data(logs: Logs) -> None:
    manifest = logs.root / "runs" / "case" / "prepared" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"seed": 0', '"seed": 1'))
    result = logs.run("evaluate")
    assert result.exit_code == 2 and "not the data" in result.stderr


def test_lists_of_a_run_are_not_made_by_the_release_of_an_earlier_training(logs: Logs) -> None:
    logs.overrides |= {"model.dim": "6", "run.overwrite": "true"}
    assert logs.run("train").exit_code == 0
    assert not (logs.root / "runs" / "case" / "top_n").exists()
    result = logs.run("retrieve")
    assert result.exit_code == 2 and "pipelines/release.py" in result.stderr
    assert logs.run("release").exit_code == 0
    assert logs.run("retrieve").exit_code == 0


@pytest.mark.parametrize("positives", ["per_interaction", "per_user"])
@pytest.mark.parametrize("loss", ["bpr", "softmax"])
@pytest.mark.parametrize("negatives", ["uniform", "shared", "in_batch"])
def test_every_choice_of_negatives_loss_and_positives_trains(
    negatives: str, loss: str, positives: str, tmp_path: Path
) -> None:
    logs = Logs(tmp_path)
    # One modality: a graph that is built sooner.
    logs.overrides |= SMALL | {"data.modalities": "{visual: clip}"}
    logs.overrides |= {"negatives.kind": negatives, "training.loss": loss, "training.positives": positives}
    if negatives == "in_batch":
        logs.overrides |= {"training.walk_positives": "0"}
    result = logs.run("train")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "runs" / "case" / "finished.json").read_text())["steps"] == 4
