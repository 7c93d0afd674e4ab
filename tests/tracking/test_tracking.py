"""Runs and releases in MLflow stores, by the commands of docs/tracking.md; kills, and stores that are away."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from m3csr_tf.cli import app
from m3csr_tf.config import Config
from m3csr_tf.errors import RunError

pytest.importorskip("mlflow", reason="the extra mlflow is not installed")

PAGE = (Path(__file__).parents[2] / "docs" / "tracking.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python pipelines/(\w+)\.py (.*?)(?:\s+#.*)?$", PAGE, re.MULTILINE)
AWAY = "http://127.0.0.1:9"
"""Nothing listens on the port "discard"."""


def settings(root: Path, **run: Any) -> dict[str, Any]:
    return {
        "run": {"name": "tonight", "folder": str(root / "runs"), "release_folder": str(root / "saved_models"), **run},
        "data": {"world": {"users": 60, "items": 50, "clicks": 600, "modalities": {"visual": 6, "acoustic": 4}}},
        "clusters": {"count": 4},
        "model": {"dim": 8, "id_dim": 8, "id_initialisation": "xavier"},
        "negatives": {"count": 16},
        "training": {"batch_size": 64, "max_steps": 12, "evaluate_every": 4, "patience": 12, "cross_fit": 0},
        "evaluation": {"bootstrap": 50},
    }


def verb(name: str, root: Path, *arguments: str) -> Any:
    if not (root / "CONFIG").exists():
        (root / "CONFIG").write_text(yaml.safe_dump(settings(root)))
    return CliRunner().invoke(app, [name, "--config", str(root / "CONFIG"), *arguments])


def client(address: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=address, registry_uri=address)


def runs(address: str) -> list[Any]:
    experiments = [one.experiment_id for one in client(address).search_experiments()]
    return [run for run in client(address).search_runs(experiments) if run.info.run_name == "tonight"]


def steps(address: str, run_id: str, metric: str) -> list[int]:
    return [one.step for one in client(address).get_metric_history(run_id, metric)]


def files(address: str, run_id: str, path: str | None = None) -> set[str]:
    found = client(address).list_artifacts(run_id, path)
    return {one.path for one in found if not one.is_dir}.union(
        *(files(address, run_id, one.path) for one in found if one.is_dir)
    )


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands of the page have been run; its store is mlflow.db. Shared: do not change it."""
    root = tmp_path_factory.mktemp("logged")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert [name for name, _ in COMMANDS] == ["train", "evaluate", "release", "report", "track"]
        (root / "CONFIG").write_text(yaml.safe_dump(settings(root)))
        for name, arguments in COMMANDS:
            done = CliRunner().invoke(app, [name, *shlex.split(arguments)])
            assert done.exit_code == 0, done.output
            assert "warning" not in done.output
    return root


def test_parameters_are_the_resolved_settings(logged: Path) -> None:
    [run] = runs(f"sqlite:///{logged}/mlflow.db")
    assert run.info.status == "FINISHED"
    tree = yaml.safe_load((logged / "runs" / "tonight" / "config.yaml").read_text())
    assert run.data.params["training.max_steps"] == "12" and run.data.params["run.name"] == "tonight"
    assert set(run.data.params) == {f"{section}.{name}" for section, of in tree.items() for name in of}
    assert json.loads(run.data.params["data.world"]) == tree["data"]["world"]


def test_metrics_are_those_of_the_logs_by_step_and_of_the_tree(logged: Path) -> None:
    address = f"sqlite:///{logged}/mlflow.db"
    [run] = runs(address)
    lines = pd.read_csv(logged / "runs" / "tonight" / "logs" / "validations.csv")
    history = client(address).get_metric_history(run.info.run_id, "validation/recall_at_20")
    assert {one.step: one.value for one in history} == dict(zip(lines["step"], lines["recall@20"], strict=True))
    assert len(history) == len(lines) >= 2
    # The loss of step 0 is not there, and each other one once.
    assert sorted(steps(address, run.info.run_id, "validation/loss")) == lines["step"].tolist()[1:]
    tree = json.loads((logged / "runs" / "tonight" / "metrics.json").read_text())
    assert run.data.metrics["test/all/recall_at_20"] == tree["test"]["all"]["recall@20"]
    assert (
        run.data.metrics["baselines/popularity/val/warm/ndcg_at_20"]
        == (tree["baselines"]["popularity"]["val"]["warm"]["ndcg@20"])
    )
    low, high = tree["test"]["all"]["ci"]["recall@20"]
    assert run.data.metrics["test/all/ci/recall_at_20/low"] == low
    assert run.data.metrics["test/all/ci/recall_at_20/high"] == high
    assert steps(address, run.info.run_id, "test/all/recall_at_20") == [tree["training"]["best_step"]]


def test_files_are_those_of_the_run_and_lie_beside_the_database(logged: Path) -> None:
    address = f"sqlite:///{logged}/mlflow.db"
    [run] = runs(address)
    there = files(address, run.info.run_id)
    figures = {f"figures/{path.name}" for path in (logged / "runs" / "tonight" / "figures").iterdir()}
    assert len(figures) > 4
    named = {"config.yaml", "versions.json", "finished.json", "metrics.json", "report.html", "model_card.md"}
    named |= {"logs/validations.csv", "logs/throughput.csv", "release/tonight/1/manifest.json"}
    assert there == figures | named
    kept = logged / "mlartifacts" / run.info.run_id / "artifacts" / "metrics.json"
    assert kept.read_bytes() == (logged / "runs" / "tonight" / "metrics.json").read_bytes()


def test_the_release_is_registered_once_and_the_alias_follows_it(logged: Path) -> None:
    address = f"sqlite:///{logged}/mlflow.db"
    [run] = runs(address)
    manifest = json.loads((logged / "saved_models" / "tonight" / "manifest.json").read_text())
    [version] = client(address).search_model_versions("name = 'tonight'")
    assert version.run_id == run.info.run_id
    assert version.tags["m3csr_tf.fingerprint"] == manifest["fingerprint"]
    assert version.tags["m3csr_tf.release_folder"] == str(logged / "saved_models" / "tonight")
    assert client(address).get_model_version_by_alias("tonight", "current").version == version.version


def test_a_rollback_moves_the_alias_back_and_a_second_release_is_a_second_version(tmp_path: Path) -> None:
    store = f"run.tracking_uri={tmp_path}/mlruns"
    assert verb("train", tmp_path).exit_code == 0  # Not logged yet: release does it.
    for arguments in ([], ["--again"], ["rollback"]):
        done = verb("release", tmp_path, *arguments, store)
        assert done.exit_code == 0, done.output
        assert "warning" not in done.output
    address = (tmp_path / "mlruns").as_uri()
    versions = client(address).search_model_versions("name = 'tonight'")
    assert {one.tags["m3csr_tf.release_version"] for one in versions} == {"1", "2"}
    current = client(address).get_model_version_by_alias("tonight", "current")
    assert current.tags["m3csr_tf.release_version"] == "1"
    assert len(runs(address)) == 1
    # A model of that name which is of something else is no place for it.
    (tmp_path / "moved").mkdir()
    (tmp_path / "saved_models").rename(tmp_path / "moved" / "saved_models")
    for name in ("release", "track"):
        done = verb(name, tmp_path, store, f"run.release_folder={tmp_path}/moved/saved_models")
        assert done.exit_code == 2
        assert "has a model 'tonight' already, of the release in" in done.output


def test_a_training_that_was_killed_goes_on_in_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from m3csr_tf.verbs.tracker import Tracker

    whole = Tracker.steps
    calls = []

    def killed(tracker: Tracker) -> None:
        whole(tracker)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    store = f"run.tracking_uri={tmp_path}/mlruns"
    address = (tmp_path / "mlruns").as_uri()
    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "steps", killed)
        assert verb("train", tmp_path, store).exit_code == 130
    [before] = runs(address)
    assert before.info.status == "RUNNING"
    assert steps(address, before.info.run_id, "validation/recall_at_20") == [0, 4]
    assert verb("train", tmp_path, store).exit_code == 0
    [after] = runs(address)
    assert (after.info.run_id, after.info.status) == (before.info.run_id, "FINISHED")
    assert steps(address, after.info.run_id, "validation/recall_at_20") == [0, 4, 8, 12]


def tracked(root: Path, name: str = "tonight", **others: Any) -> Config:
    """The settings of a run of which nothing but config.yaml is there yet."""
    config = Config.model_validate(settings(root, name=name) | others)
    config.run_folder.mkdir(parents=True, exist_ok=True)
    (config.run_folder / "config.yaml").write_text(config.to_yaml())
    return config


def log(root: Path, config: Config) -> tuple[str, list[str]]:
    from m3csr_tf.tracking.run import log_run
    from m3csr_tf.tracking.store import Connection

    store = Connection(Config.model_validate({"run": {"tracking_uri": str(root / "mlruns")}}).run)
    return store.do(lambda store: log_run(store, config.run_folder))


def test_a_run_keeps_its_run_in_mlflow_and_others_get_their_own(tmp_path: Path) -> None:
    from m3csr_tf.training.run_files import open_run

    first, notes = log(tmp_path, tracked(tmp_path))
    assert notes == []
    # A setting that does not belong to the training has changed: MLflow keeps what it has, and that is said.
    changed = tracked(tmp_path, evaluation={"bootstrap": 70})
    again, [note] = log(tmp_path, changed)
    assert again == first
    assert note.startswith("evaluation.bootstrap: changed since the run was first logged, and MLflow keeps the first")
    # A copy of the folder under another name is another run, and so is a training that replaces this one.
    shutil.copytree(changed.run_folder, changed.run_folder.with_name("copy"))
    copy, _ = log(tmp_path, tracked(tmp_path, name="copy"))
    tree = changed.model_dump()
    replacing = Config.model_validate(tree | {"run": tree["run"] | {"seed": 1, "overwrite": True}})
    open_run(replacing)
    replaced, _ = log(tmp_path, replacing)
    assert len({first, copy, replaced}) == 3
    # Where tracking.json was cut, or the store has lost its run, the message says so, or it is logged anew.
    kept = replacing.run_folder / "tracking.json"
    known = kept.read_text()
    kept.write_text(known.replace(replaced, "0" * 32))
    assert log(tmp_path, replacing)[0] == replaced
    kept.write_text("{}")
    with pytest.raises(
        RunError, match=r"tracking\.json: it is broken .* delete it, and the run is logged to a new run"
    ):
        log(tmp_path, replacing)


def test_a_run_that_was_deleted_in_mlflow_is_refused_before_a_verb_begins(tmp_path: Path) -> None:
    config = tracked(tmp_path)
    run_id, _ = log(tmp_path, config)
    client((tmp_path / "mlruns").as_uri()).delete_run(run_id)
    for name in ("train", "evaluate", "track"):
        done = verb(name, tmp_path, f"run.tracking_uri={tmp_path}/mlruns")
        said = done.output.replace("\n", " ")
        assert done.exit_code == 2 and f"its run {run_id} in" in said and "mlflow runs restore" in said, said
    (config.run_folder / "tracking.json").unlink()
    assert log(tmp_path, config)[0] != run_id


def test_a_server_that_is_away_costs_a_warning_and_track_logs_it_all_later(tmp_path: Path) -> None:
    done = verb("train", tmp_path, f"run.tracking_uri={AWAY}")
    assert done.exit_code == 0, done.output
    said = done.output.replace("\n", " ")
    # At the beginning, after the validations of steps 0, 4, 8 and 12, and at the end.
    assert f"warning: not logged to MLflow: run.tracking_uri={AWAY} does not answer" in said
    assert "not logged to MLflow, 6 attempts so far" in said
    done = verb("track", tmp_path, f"run.tracking_uri={AWAY}")
    assert done.exit_code == 2 and "does not answer" in done.output
    done = verb("track", tmp_path, f"run.tracking_uri={tmp_path}/mlruns")
    assert done.exit_code == 0, done.output
    address = (tmp_path / "mlruns").as_uri()
    [run] = runs(address)
    assert run.info.status == "FINISHED" and run.data.params["run.tracking_uri"] == AWAY
    assert steps(address, run.info.run_id, "validation/recall_at_20") == [0, 4, 8, 12]


def test_without_the_setting_nothing_of_mlflow_is_imported_and_the_weights_are_the_same(
    logged: Path, tmp_path: Path
) -> None:
    (tmp_path / "CONFIG").write_text(yaml.safe_dump(settings(tmp_path)))
    script = (
        "import sys\nfrom typer.testing import CliRunner\nfrom m3csr_tf.cli import app\n"
        f"done = CliRunner().invoke(app, ['train', '--config', {str(tmp_path / 'CONFIG')!r}])\n"
        "import m3csr_tf.verbs.track, m3csr_tf.verbs.release, m3csr_tf.verbs.report, m3csr_tf.verbs.evaluate\n"
        "print(done.exit_code, [name for name in sys.modules if name.split('.')[0] == 'mlflow'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip().splitlines()[-1] == "0 []", done.stderr
    ended = [json.loads((root / "runs" / "tonight" / "finished.json").read_text()) for root in (logged, tmp_path)]
    assert ended[0]["fingerprint"] == ended[1]["fingerprint"] and ended[0]["recall@20"] == ended[1]["recall@20"]
    assert not (tmp_path / "runs" / "tonight" / "tracking.json").exists()


def test_secrets_are_hidden_in_parameters_and_long_ones_are_cut_and_said(tmp_path: Path) -> None:
    from m3csr_tf.tracking.run import log_run
    from m3csr_tf.tracking.store import Connection

    secret = {"spark.hadoop.fs.s3a.secret.key": "s3cr3t"}
    tree = settings(tmp_path, tracking_uri="https://me:pa55@host/path?token=t0ken")
    tree |= {"spark": {"conf": secret | {"spark.jars": "j" * 7000}}}
    config = Config.model_validate(tree)
    config.run_folder.mkdir(parents=True)
    (config.run_folder / "config.yaml").write_text(config.to_yaml())
    store = Connection(Config.model_validate({"run": {"tracking_uri": str(tmp_path / "mlruns")}}).run)
    for _ in range(2):  # The second time changes nothing.
        _, notes = store.do(lambda store: log_run(store, config.run_folder))
        assert notes == [
            "spark.conf: cut at 6,000 characters, the longest parameter there; config.yaml among its files says all"
        ]
    [run] = runs((tmp_path / "mlruns").as_uri())
    assert run.data.params["run.tracking_uri"] == "https://***@host/path?***"
    assert run.data.params["spark.conf"].startswith('{"spark.hadoop.fs.s3a.secret.key": "***"')
    assert len(run.data.params["spark.conf"]) == 6000
    everything = [path.read_text(errors="replace") for path in (tmp_path).rglob("*") if path.is_file()]
    assert not [text for text in everything if "s3cr3t" in text or "pa55" in text or "t0ken" in text]


def test_a_final_fit_is_a_run_of_its_own_and_that_of_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    away = "run.tracking_uri=http://me:pa55@127.0.0.1:9"
    done = verb("train", tmp_path, "--final", away)
    assert done.exit_code == 0, done.output
    assert "pa55" not in done.output and "not logged to MLflow" in done.output
    assert (tmp_path / "runs" / "tonight-final" / "finished.json").exists()
    assert verb("release", tmp_path).exit_code == 0
    done = verb("track", tmp_path, f"run.tracking_uri={tmp_path}/mlruns")
    assert done.exit_code == 0, done.output
    assert not list((tmp_path / "here").iterdir())  # MLflow would make its default store there.
    address = (tmp_path / "mlruns").as_uri()
    assert "has no version of run tonight as it is now" in " ".join(done.output.split())
    [chosen] = runs(address)
    [experiment] = client(address).search_experiments(filter_string="name = 'm3csr_tf'")
    logged = {one.info.run_name: one for one in client(address).search_runs([experiment.experiment_id])}
    assert logged.keys() == {"tonight", "tonight-final"}
    final = logged["tonight-final"]
    assert final.data.params["training.final_of"] == "tonight" and final.info.status == "FINISHED"
    assert not [name for name in final.data.metrics if "recall" in name]
    assert "validation/recall_at_20" in chosen.data.metrics
    version = client(address).get_model_version_by_alias("tonight", "current")
    assert version.run_id == final.info.run_id and version.tags["m3csr_tf.run"] == "tonight-final"
