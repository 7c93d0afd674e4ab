"""Which version a supervisor opens when processes end: that of the manifest, or the one that is known to answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from m3csr_tf.config import ColdConfig, Config, RetrieveConfig, ServiceConfig, SimilarConfig
from m3csr_tf.releases import manifest as manifests
from m3csr_tf.releases.release import Release
from m3csr_tf.service import supervisor as supervising
from m3csr_tf.service.assignment import Assignment
from m3csr_tf.service.supervisor import Supervisor


class Process(supervising._Worker):
    """A worker of which the test says what it does."""

    started: list[Process]

    def __init__(self, assignment: Assignment, manifest: dict[str, Any]) -> None:
        self.manifest, self.version, self.fingerprint = manifest, manifest["version"], manifest["fingerprint"]
        self.began, self.until, self.error = 0.0, float("inf"), None
        self.is_ready, self.is_first, self.ended, self.drains = False, True, False, False
        self.output = Path(os.devnull).open("rb")
        self._says: list[dict[str, Any]] = []
        self.started.append(self)

    def says(self, **what: Any) -> None:
        self._says.append(what)

    def said(self) -> list[dict[str, Any]]:
        said, self._says = self._says, []
        return said

    def drain(self, service: ServiceConfig) -> None:
        self.drains = True

    def has_ended(self) -> bool:
        return self.ended

    def reason(self) -> str:
        return "the test ended it"

    def close(self) -> None:
        self.output.close()


class Selector:
    """Takes what is no pipe."""

    def register(self, *of: Any) -> None:
        pass

    unregister = register


@pytest.fixture
def supervised(release: Release, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    """A supervisor of version 1, whose process answers."""
    monkeypatch.setattr(supervising, "_Worker", Process)
    monkeypatch.setattr(supervising, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(Process, "started", [], raising=False)
    run = {"name": release.folder.name, "release_folder": release.folder.parent}
    made = Supervisor(Config(run=run, service={"port": 0}), lambda line: None)
    made._selector.close()
    made._selector = Selector()  # type: ignore[assignment]
    made._current = made._start(made._manifest, at_once=True)
    look(made, ready=Process.started[0])
    yield made
    made._socket.close()


def look(supervisor: Supervisor, ready: Process | None = None, ended: Process | None = None) -> list[int]:
    """Lets a process answer or end, and returns the versions of the processes that are then there."""
    if ready is not None:
        ready.says(ready=ready.version)
        supervisor._hear(ready)
    if ended is not None:
        ended.ended = True
    supervisor._reap()
    supervisor._follow()
    return [one.version for one in (supervisor._current, supervisor._coming) if one is not None]


def publish(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes version 2 the current one."""
    newer = manifests.with_fingerprint({**supervisor._manifest, "version": 2})
    monkeypatch.setattr(manifests, "read", lambda path: newer)
    supervisor._seen = None


def test_a_process_that_dies_while_a_broken_version_is_opened_is_replaced_from_the_version_before(
    supervised: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(supervised, monkeypatch)
    assert look(supervised) == [1, 2]
    first, newer = Process.started
    assert look(supervised, ended=first) == [1, 2]
    assert look(supervised, ended=newer) == [1]
    again = Process.started[-1]
    assert (again.version, len(Process.started)) == (1, 3)
    # The broken one is not tried again before its time, whatever happens to the other.
    assert look(supervised, ready=again) == [1]
    assert look(supervised, ended=again) == [1]
    assert [one.version for one in Process.started] == [1, 2, 1, 1]


def test_a_newer_version_takes_over_from_one_that_is_opened_again(
    supervised: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(supervised, monkeypatch)
    look(supervised)
    first, newer = Process.started
    look(supervised, ended=first)
    assert look(supervised, ready=newer) == [2]
    again = Process.started[-1]
    assert again.drains and supervised._leaving == [again]
    assert look(supervised, ended=again) == [2]
    # From now on, the newer one is the one that is known to answer.
    assert look(supervised, ended=newer) == [2]


def test_a_version_that_cannot_be_opened_any_more_and_the_current_one_are_tried_in_turn(
    supervised: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(supervised, monkeypatch)
    look(supervised)
    first, newer = Process.started
    look(supervised, ended=newer)
    look(supervised, ended=first)
    for _ in range(3):
        look(supervised, ended=Process.started[-1])
    assert [one.version for one in Process.started] == [1, 2, 1, 2, 1, 2]


def test_a_worker_whose_certificate_cannot_be_read_any_more_says_so_and_not_that_it_answers(tmp_path: Path) -> None:
    service = ServiceConfig(tls_certificate=tmp_path / "gone.pem", tls_key=tmp_path / "gone.key")
    sections = {
        "service": service,
        "retrieve": RetrieveConfig(),
        "similar": SimilarConfig(),
        "cold": ColdConfig(),
    }
    dumped = {name: section.model_dump(mode="json") for name, section in sections.items()}
    listening = supervising.listening(ServiceConfig(port=0))
    line = Assignment(str(tmp_path), 1, listening.fileno(), at_once=True, threads=0, token=None, **dumped).to_line()
    with listening:
        done = subprocess.run(
            [sys.executable, "-m", "m3csr_tf.service.worker"],
            input=line,
            capture_output=True,
            pass_fds=[listening.fileno()],
            env=os.environ | {"PYTHONPATH": str(Path(supervising.__file__).parents[2])},
            timeout=120,
        )
    assert done.returncode == 1 and not done.stderr
    [said] = map(json.loads, done.stdout.splitlines())
    assert list(said) == ["failed"] and "gone.pem" in said["failed"] and "cannot be read" in said["failed"]
