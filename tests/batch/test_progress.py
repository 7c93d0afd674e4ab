"""The estimate of the time left, after a resume, and in a log."""

from __future__ import annotations

import pytest

from m3csr_tf.batch.progress import Tracker, tracked
from m3csr_tf.util import progress as module
from m3csr_tf.util.progress import Told


def test_the_time_left_is_that_of_this_sittings_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    told = Told("the job, users", total=1000, done=600)
    tracker = Tracker(told, total=1000, done=600)
    for clock[0] in (10.0, 20.0):
        tracker.advance(100)
    # 100 users in ten seconds; the 600 of an earlier sitting took no time.
    assert told.line() == "the job: 800 of 1,000 users, 0:00:20 left"


def test_a_short_job_says_nothing_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with tracked(10, 0) as tracker:
        tracker.advance(10)
    assert capsys.readouterr().err == ""
