"""Locks among processes."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from m3csr_tf.util import locks


@pytest.fixture
def holder(tmp_path: Path) -> ExitStack:
    """Holds the lock until it is closed; another descriptor of the same file stands for another process."""
    stack = ExitStack()
    stack.enter_context(locks.locked(tmp_path / "lock"))
    return stack


def test_a_short_wait_for_a_lock_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def warning(text: str, *_: object) -> None:
        pytest.fail(text)

    monkeypatch.setattr(locks, "logger", SimpleNamespace(warning=warning))
    began = threading.Event()

    def hold() -> None:
        with locks.locked(tmp_path / "lock"):
            began.set()
            time.sleep(0.2)

    holding = threading.Thread(target=hold)
    holding.start()
    assert began.wait(10)
    asked = time.monotonic()
    with locks.locked(tmp_path / "lock"):
        waited = time.monotonic() - asked
    holding.join()
    assert waited > 0.1  # Of the 0.2 s that the other one holds it.


def test_a_wait_of_more_than_a_second_is_told_once(
    holder: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    asked = time.monotonic()

    def warning(text: str, *arguments: object) -> None:
        logged.append(text % arguments)
        assert time.monotonic() - asked >= 1
        holder.close()  # Or the wait would never end.

    monkeypatch.setattr(locks, "logger", SimpleNamespace(warning=warning))
    with locks.locked(tmp_path / "lock"):
        assert logged == [f"{tmp_path / 'lock'}: process {os.getpid()} on {platform.node()} holds it; waiting"]


def test_a_lock_that_is_asked_for_without_waiting_is_given_only_if_it_is_free(
    holder: ExitStack, tmp_path: Path
) -> None:
    with locks.if_free(tmp_path / "lock") as free:
        assert not free
    holder.close()
    with locks.if_free(tmp_path / "lock") as free:
        assert free
        with locks.if_free(tmp_path / "lock") as again:
            assert not again


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from m3csr_tf.util.locks import locked\n"
        "with locked(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "lock")], timeout=60)
    assert killed.returncode == -9 and (tmp_path / "lock").exists()
    with locks.if_free(tmp_path / "lock") as free:
        assert free


def test_one_who_waits_gets_a_lock_that_is_given_up_for_some_milliseconds_at_a_time(tmp_path: Path) -> None:
    ended = threading.Event()

    def hold_again_and_again() -> None:
        while not ended.is_set():
            with locks.locked(tmp_path / "lock"):
                time.sleep(0.1)
            time.sleep(0.02)

    holding = threading.Thread(target=hold_again_and_again)
    holding.start()
    try:
        time.sleep(0.05)
        asked = time.monotonic()
        with locks.locked(tmp_path / "lock"):
            waited = time.monotonic() - asked
    finally:
        ended.set()
        holding.join()
    # Free for 20 ms in every 120 ms, and looked at every 5 ms: one of the first times, also on a busy machine.
    assert waited < 5
