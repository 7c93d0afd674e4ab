"""Misuses of run.tracking_uri: one message each, before anything is done."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from m3csr_tf import config as configuration
from m3csr_tf.config import Config
from m3csr_tf.errors import ConfigError, RunError, TrackingError
from m3csr_tf.tracking.figures import metric_name, of_tree


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("run.tracking_uri=ftp://host/x", r"run\.tracking_uri='ftp://host/x': MLflow has no store of this kind"),
        ("run.tracking_uri=databricks://a", "no store of this kind; expected sqlite:///FILE, a folder, "),
        ("run.tracking_uri=''", "expected sqlite:///FILE, a folder"),
        ("run.tracking_uri=' mlruns'", "without spaces around it"),
        ("run.tracking_uri=sqlite://mlflow.db", r"it names no file; expected sqlite:///mlflow\.db"),
        ("run.tracking_uri='sqlite:///:memory:'", "it names no file"),
        ("run.tracking_uri=http:///", "it names no host"),
        ("run.tracking_uri=[1]", r"run\.tracking_uri: Input should be a valid string"),
        ("run.tracking_experiment=''", "run.tracking_experiment: String should have at least 1 character"),
    ],
)
def test_a_mistyped_address_is_refused_with_the_settings(given: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configuration.load(None, [given])


def test_a_password_stands_in_no_message_about_the_settings() -> None:
    for given in ("ftp://me:pa55@host", "[{'password': pa55}]", "{a: pa55", "gopher:x?token=pa55"):
        with pytest.raises(ConfigError) as caught:
            configuration.load(None, [f"run.tracking_uri={given}"])
        assert "pa55" not in str(caught.value)


def test_a_release_name_that_the_registry_cannot_take_is_refused_at_once() -> None:
    with pytest.raises(
        ConfigError, match=r"run\.release_name='1:30': the registry of MLflow .* takes none with a colon"
    ):
        configuration.load(None, ["run.name=1:30", "run.tracking_uri=mlruns"])
    assert configuration.load(None, ["run.name=1:30"]).run.name == "1:30"


def test_the_settings_of_tracking_are_not_in_the_fingerprint() -> None:
    tracked = Config.model_validate({"run": {"tracking_uri": "mlruns", "tracking_experiment": "shorts"}})
    assert tracked.fingerprint() == Config().fingerprint()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "clicks.csv").write_text("user_id,item_id\n")
    (tmp_path / "file").write_text("text")
    return tmp_path


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("{}/full", r"full holds other things than an MLflow store; name a folder that is new or empty"),
        ("{}/file", r"file holds other things than an MLflow store"),
        ("{}/file/below", r"file is no folder"),
        ("sqlite:///{}/file", r"file is no file of SQLite; name a new one"),
        ("sqlite:///{}/full", r"full is a folder, expected a file of SQLite"),
        ("https://***@host", r"\*\*\* stands for a secret, which no file of a run holds; give it again"),
    ],
)
def test_a_store_that_cannot_work_is_refused_with_its_path(address: str, message: str, place: Path) -> None:
    before = sorted(place.rglob("*"))
    with pytest.raises(TrackingError, match=message):
        opened(address.format(place))
    assert sorted(place.rglob("*")) == before


def opened(address: str, **others: Any) -> Any:
    from m3csr_tf.tracking.store import open_store

    return open_store(Config.model_validate({"run": {"tracking_uri": address, **others}}).run)


def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever runs the tests as root may write everything.
    monkeypatch.setattr("m3csr_tf.tracking.store.os.access", lambda *_: False)
    with pytest.raises(TrackingError, match=f"{tmp_path} may not be written; give this user the right to"):
        opened(str(tmp_path / "mlruns"))


def test_without_mlflow_the_message_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(TrackingError, match=r"MLflow, which is not installed: pip install 'm3csr_tf\[mlflow\]'"):
        opened(str(tmp_path / "mlruns"))


def test_an_experiment_that_was_deleted_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    store = opened(str(tmp_path / "mlruns"), tracking_experiment="shorts")
    store.client.delete_experiment(store.experiment)
    with pytest.raises(TrackingError, match=r"the experiment 'shorts' was deleted there; restore it"):
        opened(str(tmp_path / "mlruns"), tracking_experiment="shorts")


def test_track_needs_a_store_and_a_run(tmp_path: Path) -> None:
    from m3csr_tf.verbs.track import track

    with pytest.raises(ConfigError, match=r"run\.tracking_uri is not set; give the MLflow store"):
        track(Config())
    nothing = {"run": {"tracking_uri": str(tmp_path / "mlruns"), "folder": tmp_path, "name": "none"}}
    with pytest.raises(RunError, match=r"none: no run here \(config\.yaml is missing\); check run\.name"):
        track(Config.model_validate(nothing))
    assert not list(tmp_path.iterdir())


def test_names_become_names_of_mlflow_and_none_is_lost() -> None:
    assert metric_name("recall@20") == "recall_at_20"
    assert metric_name("Ton/Bild ü") == "Ton_Bild _" and metric_name("..") == "__"
    tree = {"a@b": 1, "a_at_b": 2.5, "x": {"ci": {"n": [1, 2]}, "list": [1, 2], "t": True, "w": "text"}, "n": None}
    tree["inf"] = float("inf")
    # The two first names become the same one.
    assert of_tree(tree) == {"a_at_b": 1, "a_at_b_2": 2.5, "x/ci/n/low": 1, "x/ci/n/high": 2}
