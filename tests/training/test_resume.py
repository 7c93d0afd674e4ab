"""A run that was killed ends where an uninterrupted one ends, bit for bit."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from easy_world import WORLD

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.training import run_files, runs
from m3csr_tf.training.fit import fit

TRAIN = """
import sys
from pathlib import Path

import m3csr_tf
import numpy as np
import tensorflow as tf

from m3csr_tf.config import load
from m3csr_tf.prepare import prepare
from m3csr_tf.training.fit import fit
from m3csr_tf.training.runs import load_trained
from m3csr_tf.sampling.training_data import item_features
from m3csr_tf.training.vectors import VectorEncoder

for name in sys.argv[2:]:
    config = load(Path(sys.argv[1]), [f"run.name={name}"])
    folder = fit(config, prepare(config))
    assert tf.config.threading.get_intra_op_parallelism_threads() == 1
    trained = load_trained(folder)
    np.save(folder / "items.npy", VectorEncoder(trained.model, item_features(trained.prepared)).items())
"""
DEADLINE = 120.0  # seconds


@pytest.fixture
def start(make_config: Callable[..., Config], tmp_path: Path) -> Callable[..., subprocess.Popen]:
    """`start(*names)`: starts or restarts the training of these runs, one after the other, in a process of its own."""
    training = {"max_steps": 80, "evaluate_every": 8}
    world = {"world": WORLD | {"modalities": {"visual": 8}}}  # One modality: a graph that is built sooner.
    config = make_config(tmp_path, run={"threads": 1, "deterministic": True}, training=training, data=world)
    (tmp_path / "config.yaml").write_text(config.to_yaml())

    def go(*names: str) -> subprocess.Popen:
        command = [sys.executable, "-c", TRAIN, str(tmp_path / "config.yaml"), *names]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return go


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def last_state(folder: Path) -> dict[str, np.ndarray]:
    """Weights, moments and averages after the last step."""
    reader = tf.train.load_checkpoint(str(folder / run_files.CHECKPOINTS))
    names = [name for name in reader.get_variable_to_dtype_map() if not name.startswith(("state", "_CHECK"))]
    return {name: reader.get_tensor(name) for name in names if name != "save_counter/.ATTRIBUTES/VARIABLE_VALUE"}


def test_a_run_killed_in_the_middle_ends_where_an_uninterrupted_one_ends(
    start: Callable[..., subprocess.Popen], tmp_path: Path
) -> None:
    killed = start("killed")
    log = tmp_path / "killed" / run_files.LOGS / "validations.csv"
    started = time.monotonic()
    while lines(log) < 3 and killed.poll() is None and time.monotonic() - started < DEADLINE:
        time.sleep(0.01)
    killed.kill()
    output, _ = killed.communicate()
    assert killed.returncode == -signal.SIGKILL, output
    assert 3 <= lines(log) < 12  # The header, the start and 10 validations.
    assert not (tmp_path / "killed" / runs.FINISHED_FILE).exists()

    both = start("killed", "whole")
    output, _ = both.communicate(timeout=DEADLINE)
    assert both.returncode == 0, output
    finished = [json.loads((tmp_path / name / runs.FINISHED_FILE).read_text()) for name in ("whole", "killed")]
    for one in finished:
        del one["training_seconds"]
    assert finished[0] == finished[1]
    logs = [(tmp_path / name / run_files.LOGS / "validations.csv").read_text() for name in ("whole", "killed")]
    assert logs[0] == logs[1]
    vectors = [np.load(tmp_path / name / "items.npy") for name in ("whole", "killed")]
    np.testing.assert_array_equal(*vectors)
    states = [last_state(tmp_path / name) for name in ("whole", "killed")]
    assert states[0].keys() == states[1].keys() and len(states[0]) > 20
    for name, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][name], err_msg=name)


def test_the_log_is_written_before_the_checkpoint_from_which_nothing_may_be_left_to_do(
    make_config: Callable[..., Config], easy_world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(manager: tf.train.CheckpointManager, step: int) -> None:
        if step > 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(tf.train.CheckpointManager, "save", killed)
    config = make_config(tmp_path, training={"max_steps": 1})
    with pytest.raises(KeyboardInterrupt):
        fit(config, easy_world)
    assert lines(config.run_folder / run_files.LOGS / "validations.csv") == 3  # The header, the start and the step.
