"""What a stage says of itself, in a log and in a terminal."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from m3csr_tf.util import progress as module
from m3csr_tf.util.progress import Stage, progress, say, share


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAID_AFTER", 0.05)
    monkeypatch.setattr(module, "SAID_EVERY", 0.05)


def wait_for(text: str, capsys: pytest.CaptureFixture[str], count: int = 1) -> str:
    """What has been said on stderr once `text` has been `count` times."""
    said, deadline = "", time.perf_counter() + 20
    while said.count(text) < count and time.perf_counter() < deadline:
        time.sleep(0.01)
        said += capsys.readouterr().err
    return said


def test_a_line_says_how_far_a_stage_is_and_the_time_that_is_left(clock: list[float]) -> None:
    stage = Stage("evaluating M3CSR on test, users", 10_000)
    assert stage.line() == "evaluating M3CSR on test: 0 of 10,000 users"
    clock[0] = 20.0
    stage(2_500)
    assert stage.line() == "evaluating M3CSR on test: 2,500 of 10,000 users, 0:01:00 left"
    clock[0] = 80.0
    stage(10_000, figures="recall@20 0.1000")
    assert stage.line() == "evaluating M3CSR on test: 10,000 of 10,000 users, 0:01:20 so far; recall@20 0.1000"


def test_the_time_left_is_that_of_this_sittings_speed(clock: list[float]) -> None:
    stage = Stage("training, steps", 1000, done=600)
    clock[0] = 10.0
    stage(700)
    assert stage.line() == "training: 700 of 1,000 steps, 0:00:30 left"


def test_a_stage_that_cannot_tell_how_far_it_is_says_for_how_long_it_has_been_at_it(clock: list[float]) -> None:
    stage = Stage("initialising ids from singular vectors")
    assert stage.line() == "initialising ids from singular vectors"
    clock[0] = 62.0
    assert stage.line() == "initialising ids from singular vectors, 0:01:02 so far"


def test_a_short_stage_says_nothing_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("a moment") as stage:
        stage(1, 1)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("hasty")
def test_in_a_log_a_longer_one_has_a_line_at_its_start_and_then_now_and_then_until_it_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress("a stage, items") as stage:
        wait_for("a stage, items", capsys)
        stage(1, 4)
        assert "a stage: 1 of 4 items" in wait_for("1 of 4", capsys, count=2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("progress of")]


@pytest.mark.usefixtures("hasty")
def test_a_stage_that_fails_ends_its_lines_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="anything"), progress("a stage"):
        raise RuntimeError("anything")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("progress of")]


def test_in_a_terminal_a_stage_inside_another_has_a_bar_below_its(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress("training, steps", 10, done=4) as outer:
        bars = module._bars
        assert bars is not None
        with progress("validation, users", 5) as inner:
            inner(3)
            outer(6, figures="loss 1.0")
            assert [task.description for task in bars.tasks] == ["training, steps", "validation, users"]
            assert [task.completed for task in bars.tasks] == [6, 3]
            say("[bold]a line[/bold]")
        assert [task.description for task in bars.tasks] == ["training, steps"]
    assert module._bars is None
    assert "[bold]a line[/bold]" in capsys.readouterr().err


def test_a_stage_of_unlike_parts_says_its_percentage(clock: list[float]) -> None:
    stage = Stage("item graph, %")
    assert stage.line() == "item graph"
    share(stage, 0, 4)(5, 10)  # Half of the first of four parts.
    clock[0] = 21.0
    share(stage, 2, 4)(2, 10)
    assert stage.line() == "item graph: 55%, 0:00:17 left"
    assert share(None, 0, 4) is None


def test_threads_that_work_on_one_stage_lose_no_count_and_what_was_done_before_counts_not_for_the_speed(
    clock: list[float],
) -> None:
    stage = Stage("the job, users", total=1000, done=600)
    threads = [threading.Thread(target=lambda: [stage.advance(1) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock[0] = 20.0
    # 4 times 50 users in twenty seconds; the 600 of an earlier sitting took no time: 200 more take as long.
    assert stage.line() == "the job: 800 of 1,000 users, 0:00:20 left"
