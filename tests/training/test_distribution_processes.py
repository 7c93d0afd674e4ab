"""Several processes train as one: the same losses, the same weights; one that dies ends all, and all go on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from easy_world import WORLD
from replica_steps import STEPS, UNSHARED
from workers import outputs, start, start_workers

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.prepare import prepare
from m3csr_tf.training import run_files, runs

SCRIPT = str(Path(__file__).with_name("replica_steps.py"))
TRAIN = "import sys; from m3csr_tf.main import main; sys.argv = ['train', *sys.argv[1:]]; main('train')"
SMALL = {"data": {"world": WORLD | {"modalities": {"visual": 8}}}}
"""One modality: a graph that is built sooner."""
ROUNDING = 1e-5
"""Sums of floats in another order, after 100 steps; the losses are about 3, weights about 1."""


@pytest.fixture(scope="module")
def found(make_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Losses and weights of each strategy and kind of negatives: {"two workers/shared": {"losses": ...}, ...}."""
    folder = tmp_path_factory.mktemp("replicas")
    for strategy in ("one_device", "mirrored", "multi_worker"):
        run = {"strategy": strategy, "replicas": 2, "threads": 1}
        config = make_config(folder, run=run, training={"alpha": 0.01}, **SMALL)
        (folder / f"{strategy}.yaml").write_text(config.to_yaml())
        (folder / strategy).mkdir()
    prepare(config)  # Here, or all processes would at once.

    def command(strategy: str, *kinds: str) -> list[str]:
        return [SCRIPT, str(folder / f"{strategy}.yaml"), str(folder / strategy), *kinds]

    alone = start(command("one_device", "shared", "in_batch", "uniform", "whole"))
    workers = start_workers(command("multi_worker", "shared", "in_batch"))
    mirrored = start(command("mirrored", "uniform", "whole", UNSHARED))
    printed = outputs([alone, *workers, mirrored])
    for process, text in zip([alone, *workers, mirrored], printed, strict=True):
        assert process.returncode == 0, text
    return {f"{path.parent.name}/{path.stem}": np.load(path) for path in folder.glob("*/*.npz")}


@pytest.mark.parametrize(
    "several", ["multi_worker/shared", "multi_worker/in_batch", "mirrored/uniform", "mirrored/whole"]
)
def test_two_replicas_of_half_the_batch_train_as_one_of_the_whole(found: dict[str, Any], several: str) -> None:
    alone, shared = found[f"one_device/{several.partition('/')[2]}"], found[several]
    assert alone["losses"].shape == (STEPS,) and np.ptp(alone["losses"]) > 0.1
    for name in alone:
        np.testing.assert_allclose(shared[name], alone[name], atol=ROUNDING, err_msg=name)


def test_without_the_other_replicas_candidates_the_losses_differ(found: dict[str, Any]) -> None:
    difference = np.abs(found[f"mirrored/{UNSHARED}"]["losses"] - found["one_device/in_batch"]["losses"])
    assert difference.min() > 1e-2  # Half as many candidates: ten times more than the losses may differ by.


def test_a_worker_that_dies_ends_the_others_and_all_go_on_from_the_checkpoint(
    make_config: Callable[..., Config], easy_world: Prepared, tmp_path: Path
) -> None:
    training = {"max_steps": 40, "evaluate_every": 4}
    several = make_config(tmp_path, "several", run={"strategy": "multi_worker"}, training=training, **SMALL)
    (tmp_path / "config.yaml").write_text(several.to_yaml())
    command = ["-c", TRAIN, "--config", str(tmp_path / "config.yaml")]
    log = several.run_folder / run_files.LOGS / "validations.csv"
    chief, other = start_workers(command)
    while chief.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < 3):
        time.sleep(0.05)
    other.kill()
    (printed, _) = outputs([chief, other])
    assert chief.returncode == 2, printed
    assert "one of 2 workers is gone" in " ".join(printed.split()) and "Traceback" not in printed
    assert not (several.run_folder / runs.FINISHED_FILE).exists()
    assert len(log.read_text().splitlines()) < 12

    again = start_workers(command)
    printed = outputs(again)
    assert [worker.returncode for worker in again] == [0, 0], printed
    alone = make_config(tmp_path, "alone", training=training, **SMALL)
    ran = start(["-c", TRAIN, "--config", str(tmp_path / "config.yaml"), "run.name=alone", "run.strategy=one_device"])
    assert outputs([ran]) and ran.returncode == 0
    finished = [json.loads((config.run_folder / runs.FINISHED_FILE).read_text()) for config in (alone, several)]
    assert finished[0]["best_step"] == finished[1]["best_step"] and finished[1]["steps"] == 40
    for name, value in last_state(alone).items():
        np.testing.assert_allclose(last_state(several)[name], value, atol=ROUNDING, err_msg=name)


def last_state(config: Config) -> dict[str, np.ndarray]:
    """Weights, moments and averages after the last step."""
    reader = tf.train.load_checkpoint(str(config.run_folder / run_files.CHECKPOINTS))
    names = [name for name in reader.get_variable_to_dtype_map() if name.startswith(("model", "optimizer"))]
    return {name: reader.get_tensor(name) for name in names}
