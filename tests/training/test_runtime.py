"""What is set before TensorFlow's first kernel. That it holds is shown where runs are repeated (test_resume.py)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import tensorflow as tf

from m3csr_tf.config import RunConfig
from m3csr_tf.training.runtime import configure


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What was asked of TensorFlow, which keeps its settings for the rest of a process."""
    made: list[tuple[str, ...]] = []

    def recorder(name: str) -> Callable[..., None]:
        return lambda *given: made.append((name, *given))

    for place, name in [
        (tf.config.threading, "set_intra_op_parallelism_threads"),
        (tf.config.threading, "set_inter_op_parallelism_threads"),
        (tf.config.experimental, "enable_op_determinism"),
    ]:
        monkeypatch.setattr(place, name, recorder(name))
    return made


def test_by_default_nothing_is_changed(calls: list[tuple[str, ...]]) -> None:
    configure(RunConfig())
    assert calls == []


def test_threads_and_determinism_are_asked_for(calls: list[tuple[str, ...]]) -> None:
    configure(RunConfig(threads=3, deterministic=True))
    assert set(calls) == {
        ("set_intra_op_parallelism_threads", 3),
        ("set_inter_op_parallelism_threads", 3),
        ("enable_op_determinism",),
    }


def test_threads_asked_for_too_late_leave_the_earlier_number() -> None:
    tf.zeros([1]) + 1
    before = tf.config.threading.get_intra_op_parallelism_threads()
    configure(RunConfig(threads=before + 1))
    assert tf.config.threading.get_intra_op_parallelism_threads() == before
