"""Locks among processes."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from m3csr_tf.util import files


@pytest.fixture
def holder(tmp_path: Path) -> ExitStack:
    """Holds the lock until it is closed; another descriptor of the same file stands for another process."""
    stack = ExitStack()
    stack.enter_context(files.locked(tmp_path / "lock"))
    return stack


def clock(monkeypatch: pytest.MonkeyPatch, asleep: Callable[[], object]) -> None:
    """Time that only passes in sleep: half a second each, whatever is asked for, and `asleep` happens."""
    seconds = [0.0]

    def sleep(_: float) -> None:
        seconds[0] += 0.5
        asleep()

    monkeypatch.setattr(files, "time", SimpleNamespace(monotonic=lambda: seconds[0], sleep=sleep))


def test_a_short_wait_for_a_lock_is_not_told(
    holder: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warning(text: str, *_: object) -> None:
        pytest.fail(text)

    slept: list[None] = []
    clock(monkeypatch, asleep=lambda: (slept.append(None), holder.close()))
    monkeypatch.setattr(files, "logger", SimpleNamespace(warning=warning))
    with files.locked(tmp_path / "lock"):
        assert len(slept) == 1


def test_a_wait_of_more_than_a_second_is_told_once(
    holder: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def warning(text: str, *arguments: object) -> None:
        told.append(text % arguments)
        holder.close()  # Or the wait would never end.

    clock(monkeypatch, asleep=lambda: None)
    monkeypatch.setattr(files, "logger", SimpleNamespace(warning=warning))
    with files.locked(tmp_path / "lock"):
        assert told == [f"{tmp_path / 'lock'}: process {os.getpid()} on {platform.node()} holds it; waiting"]
