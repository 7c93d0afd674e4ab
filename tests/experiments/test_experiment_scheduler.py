"""Jobs in order, several at a time: what is done is not done again, and a failure stops nobody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from m3csr_tf.config import Config, RunConfig
from m3csr_tf.errors import RunError
from m3csr_tf.experiments.comparison import scheduler
from m3csr_tf.experiments.comparison.choice import choose
from m3csr_tf.experiments.comparison.processes import Ended, Processes
from m3csr_tf.experiments.comparison.scheduler import Outcomes, RunJob, RunPlan, configuration_of
from m3csr_tf.util.files import write_json

OUTPUTS = {"train": "trained.txt", "evaluate": "evaluated.txt"}


class FakeProcesses(Processes):
    """Verbs that leave their output at once, one second each, but for runs that should fail or be killed."""

    ran: list[str]
    bad: dict[str, BaseException]
    most = 0

    def __init__(self) -> None:
        super().__init__()
        self._at_work, self._count = 0, threading.Lock()

    def run(self, verb: str, config: Path, threads: int, log: Path) -> Ended:
        with self._count:
            self._at_work += 1
            FakeProcesses.most = max(FakeProcesses.most, self._at_work)
        try:
            if (problem := self.bad.get(f"{verb} {config.stem}")) is not None:
                raise problem
            self.ran.append(f"{verb} {config.stem}")
            folder = config.parents[1] / config.stem
            folder.mkdir(exist_ok=True)
            (folder / OUTPUTS[verb]).touch()
            return Ended(1.0, 0.9, 0.5)
        finally:
            with self._count:
                self._at_work -= 1


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeProcesses]:
    FakeProcesses.ran, FakeProcesses.bad, FakeProcesses.most = [], {}, 0
    monkeypatch.setattr(scheduler, "Processes", FakeProcesses)
    return FakeProcesses


def job(
    folder: Path, name: str, *after: str, verbs: Sequence[str] = ("train",), seed: int = 0, data: str = ""
) -> RunJob:
    def make(outcomes: Outcomes) -> RunPlan:
        for other in after:
            configuration_of(outcomes, other, "data are")
        config = Config(run=RunConfig(name=name, folder=folder, seed=seed))
        return RunPlan(config, tuple(verbs), OUTPUTS, data)

    return RunJob(name, "model", make, after)


def run(
    folder: Path, *jobs: RunJob, processes: int = 2, said: list[str] | None = None
) -> dict[str, scheduler.RunOutcome]:
    return scheduler.run(jobs, folder, processes, (said if said is not None else []).append)


def test_a_job_waits_for_those_it_needs_and_outcomes_come_in_their_order(tmp_path: Path, fake) -> None:
    jobs = [job(tmp_path, "a"), job(tmp_path, "b", "a"), job(tmp_path, "c", "b", verbs=("train", "evaluate"))]
    found = run(tmp_path, *jobs)
    assert fake.ran == ["train a", "train b", "train c", "evaluate c"]
    assert list(found) == ["a", "b", "c"] and all(outcome.problem is None for outcome in found.values())
    assert found["c"].verbs["evaluate"]["command"].startswith("m3csr evaluate --config ")
    assert found["c"].verbs["train"]["peak_gib"] == 0.5


def test_a_job_that_would_wait_for_ever_is_refused(tmp_path: Path, fake) -> None:
    with pytest.raises(ValueError, match="b comes after c, of which one is not before it"):
        run(tmp_path, job(tmp_path, "a"), job(tmp_path, "b", "c"))
    assert fake.ran == []


def test_no_more_run_at_a_time_than_may(tmp_path: Path, fake) -> None:
    run(tmp_path, *(job(tmp_path, f"j{place}") for place in range(6)), processes=1)
    assert fake.most == 1 and len(fake.ran) == 6


def test_what_is_done_is_not_done_again_unless_settings_data_or_output_have_changed(tmp_path: Path, fake) -> None:
    verbs = ("train", "evaluate")
    first = run(tmp_path, job(tmp_path, "a", verbs=verbs))
    again = run(tmp_path, job(tmp_path, "a", verbs=verbs))
    assert fake.ran == ["train a", "evaluate a"]
    assert again["a"].verbs == first["a"].verbs and not again["a"].again  # Times of then, to the digit.
    (tmp_path / "a" / "evaluated.txt").unlink()
    run(tmp_path, job(tmp_path, "a", verbs=verbs))
    assert fake.ran[2:] == ["evaluate a"]
    run(tmp_path, job(tmp_path, "a", seed=1))
    run(tmp_path, job(tmp_path, "a", seed=1, data="other"))
    assert fake.ran[3:] == ["train a", "train a"]


def test_the_time_left_is_judged_by_what_is_done_now_and_not_by_what_was_done_before(
    tmp_path: Path, fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, *(job(tmp_path, name) for name in "abc"))
    percents: list[int] = []

    class Stage:
        def __call__(self, done: int, figures: str = "") -> None:
            percents.append(done)

    monkeypatch.setattr(scheduler, "progress", lambda *_: nullcontext(Stage()))
    run(tmp_path, *(job(tmp_path, name) for name in "abcde"), processes=1)
    # a, b and c end at once, and are no work; of d and e, which take a second each, one is half of it.
    assert sorted(set(percents)) == [0, 50, 100]


def test_a_record_that_is_broken_counts_for_nothing(tmp_path: Path, fake) -> None:
    run(tmp_path, job(tmp_path, "a"))
    (tmp_path / "records" / "a.json").write_text('{"key": ')
    run(tmp_path, job(tmp_path, "a"))
    assert fake.ran == ["train a", "train a"]


def test_a_job_that_fails_says_why_and_the_others_go_on(tmp_path: Path, fake) -> None:
    fake.bad = {"train a": RunError("the loss is nan"), "train b": ValueError("odd")}
    said: list[str] = []
    jobs = [job(tmp_path, "a"), job(tmp_path, "b"), job(tmp_path, "c", "a"), job(tmp_path, "d")]
    found = run(tmp_path, *jobs, said=said)
    assert found["a"].problem == "the loss is nan" and found["b"].problem == "ValueError: odd"
    assert found["c"].problem == "its data are missing, since a has failed"
    assert found["d"].problem is None and fake.ran == ["train d"]
    assert "a has failed: the loss is nan" in said and "d has finished after 1 s" in said
    fake.bad = {}
    assert all(outcome.problem is None for outcome in run(tmp_path, *jobs).values())
    assert sorted(fake.ran) == ["train a", "train b", "train c", "train d"]


def test_after_a_verb_that_failed_the_verbs_before_it_are_kept(tmp_path: Path, fake) -> None:
    fake.bad = {"evaluate a": RunError("killed")}
    run(tmp_path, job(tmp_path, "a", verbs=("train", "evaluate")))
    fake.bad = {}
    run(tmp_path, job(tmp_path, "a", verbs=("train", "evaluate")))
    assert fake.ran == ["train a", "evaluate a"]


def test_a_real_process_that_fails_says_why(tmp_path: Path) -> None:
    config, log = tmp_path / "bad.yaml", tmp_path / "logs" / "bad.log"
    config.write_text("data: {format: table}\n")
    with pytest.raises(RunError, match=r"prepare: .*data\.path is needed.*log: .*bad\.log"):
        Processes().run("prepare", config, 1, log)
    assert log.read_text().startswith(f"$ m3csr prepare --config {config}\nerror: ")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can end a process with its parent")
def test_a_verb_ends_with_an_experiment_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from m3csr_tf.experiments.comparison import processes\n"
        "processes._VERB = 'import time; print(os.getpid(), flush=True); time.sleep(600)'\n"
        "processes.Processes().run('train', Path('c.yaml'), 1, Path(sys.argv[1]))"
    )
    log = tmp_path / "verb.log"
    experiment = subprocess.Popen([sys.executable, "-c", script, str(log)])
    until = time.monotonic() + 120
    while not log.exists() or len(lines := log.read_text().splitlines()) < 2:
        assert experiment.poll() is None and time.monotonic() < until, "the verb did not begin"
        time.sleep(0.01)
    verb = int(lines[1])
    os.kill(verb, 0)  # It lives.
    experiment.kill()
    experiment.wait()
    while Path(f"/proc/{verb}").exists() and "Z" not in Path(f"/proc/{verb}/stat").read_text().split()[2]:
        assert time.monotonic() < until, "the verb outlives the experiment"
        time.sleep(0.01)


def test_the_trial_of_the_best_validation_is_chosen_and_of_equals_the_first(tmp_path: Path) -> None:
    outcomes = {}
    for place, recall in enumerate([0.2, None, 0.4, 0.4]):
        config = Config(run=RunConfig(name=f"t{place}", folder=tmp_path))
        facts = {"best_step": 1, "steps": 2, "recall@20": recall, "ndcg@20": 0.1, "training_seconds": 3.0}
        facts |= {"prepared": "p", "fingerprint": "f", "weights": {"w": "x"}, "budget": {"epochs": 5.0}}
        if recall is not None:
            write_json(tmp_path / f"t{place}" / "finished.json", facts)
        outcomes[f"t{place}"] = scheduler.RunOutcome(config, {}, "diverged" if recall is None else None)
    settings = [{}, {"model.dim": 8}, {"model.dim": 16}, {"model.dim": 32}]
    found = choose(list(outcomes), settings, outcomes)
    assert (found.position, found.settings, found.config.run.name) == (2, {"model.dim": 16}, "t2")
    assert [trial.recall for trial in found.trials] == [0.2, None, 0.4, 0.4]
    assert found.trials[1].problem == "diverged" and json.dumps(found.settings)
    with pytest.raises(RunError, match="no trial has come to its end: t1 has failed: diverged"):
        choose(["t1"], settings[1:2], outcomes)
