from __future__ import annotations

import os
import time
from hashlib import sha256
from pathlib import Path

import pytest

from m3csr_tf.util import digests as module
from m3csr_tf.util.digests import Digests


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that has rested for ten seconds, going by the clock that digests go by."""
    path = tmp_path / "log"
    path.write_text("clicks")
    monkeypatch.setattr(module.time, "time_ns", lambda: path.stat().st_ctime_ns + 10**10)
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that have been read."""
    read: list[Path] = []

    def reads(path: Path, on_progress: object = None) -> str:
        read.append(path)
        return sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(module, "sha256", reads)
    return read


def digest(log: Path) -> str:
    """What a new start finds."""
    known = log.with_name("known")
    digests = Digests(known)
    found = digests.sha256(log)
    digests.save(known)
    return found


def test_a_file_is_read_once_also_after_it_has_moved(log: Path, reads: list[Path]) -> None:
    first = digest(log)
    moved = log.with_name("other")
    assert digest(log) == first == sha256(b"clicks").hexdigest() and reads == [log]
    os.link(log, moved)  # A link is a change of state, as is a new name on some file systems.
    digest(log)
    assert digest(moved) == first and reads == [log, log]


def test_a_file_that_has_just_changed_is_not_remembered(
    log: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.time, "time_ns", lambda: log.stat().st_ctime_ns + 10**9)
    digest(log)
    digest(log)
    assert reads == [log, log]


def test_a_change_that_keeps_size_and_time_is_noticed(log: Path) -> None:
    digest(log)
    before = log.stat()
    time.sleep(0.02)  # A file system's times tick.
    log.write_text("CLICKS")
    os.utime(log, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert log.stat().st_mtime_ns == before.st_mtime_ns
    assert digest(log) == sha256(b"CLICKS").hexdigest()


def test_a_file_in_the_place_of_another_is_read(log: Path, reads: list[Path]) -> None:
    digest(log)
    other = log.with_name("other")
    other.write_text("CLICKS")
    other.replace(log)
    assert digest(log) == sha256(b"CLICKS").hexdigest() and len(reads) == 2


def test_files_that_nobody_asks_about_are_forgotten(log: Path, tmp_path: Path, reads: list[Path]) -> None:
    digest(log)
    empty = Digests(tmp_path / "known")
    empty.save(tmp_path / "known")
    digest(log)
    assert len(reads) == 2


@pytest.mark.parametrize("content", ["", "[]", "{", '{"1:2": 3}'])
def test_a_broken_list_of_digests_counts_as_none(content: str, log: Path, reads: list[Path]) -> None:
    log.with_name("known").write_text(content)
    assert digest(log) == digest(log) == sha256(b"clicks").hexdigest()
    assert reads == [log]
