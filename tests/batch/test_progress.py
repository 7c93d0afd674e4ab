"""The estimate of the time left, at the start, after a resume, and in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from m3csr_tf.batch import progress as batch_progress
from m3csr_tf.batch.progress import Tracker, tracked


def test_the_time_left_is_that_of_this_sittings_speed() -> None:
    clock = [0.0]
    tracker = Tracker(Progress(disable=True, get_time=lambda: clock[0]), total=1000, done=600)
    assert tracker.seconds_left is None
    for clock[0] in (10.0, 20.0, 30.0):
        tracker.advance(100)
    assert (tracker.done, tracker.total) == (900, 1000)
    assert tracker.seconds_left == 10  # 100 users in ten seconds; the 600 of an earlier sitting took no time.


def test_a_log_has_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, log = [0.0], io.StringIO()
    monkeypatch.setattr(batch_progress.time, "monotonic", lambda: clock[0])
    shown = Progress(console=Console(file=log, width=100), disable=True, get_time=lambda: clock[0])
    tracker = Tracker(shown, total=10_000, done=0)
    for clock[0] in (20.0, 40.0, 60.0, 80.0):
        tracker.advance(1000)
    assert log.getvalue().splitlines() == ["2,000 of 10,000 users, 0:02:40 left", "4,000 of 10,000 users, 0:02:00 left"]


def test_a_short_job_says_nothing_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with tracked(10, 0) as tracker:
        tracker.advance(10)
    assert capsys.readouterr().err == ""
