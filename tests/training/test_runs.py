"""A run's folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import RunError
from m3csr_tf.ids import FIRST_ROW, UNKNOWN_ROW
from m3csr_tf.training import run_files, runs
from m3csr_tf.training.run_files import open_run
from m3csr_tf.training.runs import load_trained

MakeConfig = Callable[..., Config]


def test_a_run_keeps_its_resolved_configuration_and_versions(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(tmp_path)
    folder = open_run(config)
    assert Config.model_validate(yaml.safe_load((folder / "config.yaml").read_text())) == config
    versions = json.loads((folder / "versions.json").read_text())
    assert {"m3csr_tf", "python", "tensorflow", "scann", "numpy"} <= versions.keys()


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"training": {"learning_rate": 0.5}}, "training.learning_rate: 0.01 -> 0.5"),
        ({"run": {"seed": 3}}, "run.seed: 0 -> 3"),
        ({"model": {"dim": 16}}, "model.dim: 8 -> 16"),
        ({"data": {"world": {}}}, "data.world"),
    ],
)
def test_a_setting_that_changes_the_weights_makes_another_run(
    sections: dict, named: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    folder = open_run(make_config(tmp_path))
    stored = (folder / "config.yaml").read_bytes()
    with pytest.raises(RunError) as raised:
        open_run(make_config(tmp_path, **sections))
    assert named in str(raised.value) and "run.overwrite=true" in str(raised.value)
    assert (folder / "config.yaml").read_bytes() == stored


def test_other_settings_do_not(make_config: MakeConfig, tmp_path: Path) -> None:
    open_run(make_config(tmp_path))
    other = make_config(
        tmp_path, run={"threads": 2}, evaluation={"top_n": (5, 20)}, index={"kind": "tree"}, retrieve={"top_n": 3}
    )
    assert not run_files.differing(other)
    open_run(other)
    assert "- 5" in (tmp_path / "small" / "config.yaml").read_text()


def test_overwriting_takes_what_was_trained_and_keeps_the_prepared_data(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    folder = open_run(make_config(tmp_path))
    trained = [folder / name for name in ("checkpoints/x", "logs/x", "finished.json", "metrics.json")]
    for path in (*trained, folder / "prepared" / "manifest.json"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    open_run(make_config(tmp_path, run={"overwrite": True}))
    assert all(path.exists() for path in trained)  # The same settings: nothing to replace.
    open_run(make_config(tmp_path, run={"overwrite": True, "seed": 1}))
    assert not any(path.exists() for path in trained)
    assert (folder / "prepared" / "manifest.json").exists()


def test_a_stored_configuration_that_is_broken_is_to_be_put_back(make_config: MakeConfig, tmp_path: Path) -> None:
    folder = open_run(make_config(tmp_path))
    (folder / "config.yaml").write_text("model: {no_such_setting: 1}")
    unknown = r"\(unknown setting model\.no_such_setting for model\.kind=m3csr\)"
    with pytest.raises(RunError, match=rf"it is broken {unknown}; put it back; where"):
        open_run(make_config(tmp_path))


def test_a_run_of_before_settings_were_renamed_is_refused_saying_so_unless_it_may_be_replaced(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    file = open_run(make_config(tmp_path)) / "config.yaml"
    before = file.read_text().replace("item_graph:", "affinities:").replace("item_id_dropout:", "cold_items:")
    file.write_text(before)
    refusal = (
        r"config\.yaml: an earlier version .* \(affinities is item_graph now; training\.cold_items is .* another run"
    )
    with pytest.raises(RunError, match=refusal):
        open_run(make_config(tmp_path))
    assert file.read_text() == before
    open_run(make_config(tmp_path, run={"overwrite": True}))
    assert "item_graph:" in file.read_text()


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run here"):
        load_trained(tmp_path / "nothing")


def test_a_run_that_has_not_finished_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has not finished"):
        load_trained(open_run(make_config(tmp_path)))


@pytest.mark.parametrize("damage", ["gone", "cut short"])
def test_a_finished_run_whose_weights_are_damaged_is_refused(
    damage: str, trained_config: Config, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(trained_config.run_folder, folder)
    assert load_trained(folder).finished == load_trained(trained_config.run_folder).finished
    (weights,) = (folder / run_files.CHECKPOINTS).glob("validated-*/weights.data*")
    if damage == "gone":
        shutil.rmtree(weights.parent)
    else:
        weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(
        RunError,
        match=r"weights\.(data|index).*: it is (missing|broken).*; put it back, or delete .*finished\.json and",
    ):
        load_trained(folder)


@pytest.mark.parametrize("setting", [{"learning_rate": 0.5}, {"validation_users": 5}])
def test_a_checkpoint_of_other_settings_is_not_gone_on_with(
    trained_config: Config, tmp_path: Path, setting: dict[str, Any]
) -> None:
    """Two trainings of one name may have been at it: the settings are the second's, and the checkpoint the first's."""
    from m3csr_tf.training.fit import fit

    folder = Path(shutil.copytree(trained_config.run_folder, tmp_path / trained_config.run.name))
    (folder / "finished.json").unlink()
    run = trained_config.run.model_copy(update={"folder": tmp_path})
    training = trained_config.training.model_copy(update=setting)
    other = trained_config.model_copy(update={"run": run, "training": training})
    (folder / "config.yaml").write_text(other.to_yaml())
    with pytest.raises(RunError, match=r"training-\d+: is of a training with other settings than config\.yaml; delete"):
        fit(other, Prepared.open(folder / "prepared"))


def test_items_without_a_training_click_read_the_unknown_id(untrained_run: Any) -> None:
    prepared = untrained_run.prepared
    model = runs.build_model(untrained_run.config, prepared)
    rows = np.arange(len(prepared.items))
    unclicked = (prepared.train_clicks == 0) & (rows >= FIRST_ROW)
    assert 0 < unclicked.sum() < len(rows) / 2
    np.testing.assert_array_equal(model.encoder.id_rows, np.where(unclicked, UNKNOWN_ROW, rows))


def test_a_fresh_model_depends_on_the_seed_alone(trained_config: Config, make_config: MakeConfig) -> None:
    prepared = load_trained(trained_config.run_folder).prepared
    same, again, other = (
        runs.build_model(make_config(trained_config.run.folder, run={"seed": seed}), prepared) for seed in (0, 0, 1)
    )
    tables = [model.encoder.id_embedding.numpy() for model in (same, again, other)]
    assert (tables[0] == tables[1]).all() and (tables[0] != tables[2]).any()
