"""Runs jobs in the order of their dependencies, several at a time; what has been done is not repeated.

A job is one or two verbs for one run. Its record, records/<name>.json, says with which configuration and data each verb
has finished; a job whose record has the same ones is not run again. A job that fails reports the reason, and the other
jobs go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from m3csr_tf.config import Config
from m3csr_tf.errors import M3CSRError, RunError
from m3csr_tf.experiments.comparison.processes import Processes, Stopping, command
from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.files import regular, write_json, write_text
from m3csr_tf.util.progress import PERCENT, progress
from m3csr_tf.util.quoting import printable

CONFIGS, LOGS, RECORDS = "configs", "logs", "records"


@dataclass(frozen=True)
class RunOutcome:
    """The outcome of a job.

    Attributes:
      config: the configuration of its run; None where it could not be made.
      verbs: verb -> {"command", "seconds", "cpu_seconds", "peak_gib"}, for the verbs that have finished.
      problem: why the job failed; None if it did not.
      again: whether one of its verbs was run now.
    """

    config: Config | None
    verbs: dict[str, dict[str, Any]]
    problem: str | None = None
    again: bool = False


Outcomes = Mapping[str, RunOutcome]


@dataclass(frozen=True)
class RunPlan:
    """The work of a job.

    Attributes:
      config: the configuration of the run.
      verbs: the verbs that are run for it, in this order.
      outputs: verb -> a file that it leaves in the run's folder; a verb whose output is missing is run again.
      data: a digest of the data, which the record must have beside the configuration.
    """

    config: Config
    verbs: tuple[str, ...]
    outputs: Mapping[str, str]
    data: str = ""


@dataclass(frozen=True)
class RunJob:
    """A job of the experiment, which is about one run.

    Attributes:
      name: the name of the run.
      like: a word that is the same for jobs which take about as long, e.g. the name of the model.
      make: makes the plan from the outcomes of the jobs in `after`, once these have ended.
      after: names of the jobs that must end before this one begins.
      always: whether to run it even if it has been run before, because it finds out by itself what there is to do.
    """

    name: str
    like: str
    make: Callable[[Outcomes], RunPlan]
    after: tuple[str, ...] = ()
    always: bool = False


def run(jobs: Sequence[RunJob], folder: Path, processes: int, log_line: Callable[[str], None]) -> dict[str, RunOutcome]:
    """Runs all jobs, and returns the outcome of each, in their order.

    Args:
      jobs: the jobs, each after those that it needs.
      folder: the folder of the experiment.
      processes: number of jobs that run at the same time.
      log_line: prints or logs a line.

    Raises:
      ValueError: a job needs one that is not before it in the list.
    """
    return _Scheduler(jobs, folder, processes, log_line).run()


class _Scheduler:
    def __init__(self, jobs: Sequence[RunJob], folder: Path, processes: int, log_line: Callable[[str], None]) -> None:
        self._jobs, self._folder, self._count, self._log_line = jobs, folder, processes, log_line
        self._processes = Processes()
        self._outcomes: dict[str, RunOutcome] = {}
        self._running: dict[Future[RunOutcome], RunJob] = {}

    def run(self) -> dict[str, RunOutcome]:
        names: set[str] = set()
        for job in self._jobs:
            if not names.issuperset(job.after):
                raise ValueError(f"{job.name} comes after {', '.join(job.after)}, of which one is not before it")
            names.add(job.name)
        waiting = list(self._jobs)
        pool = ThreadPoolExecutor(self._count)
        try:
            with progress(f"running the experiment, {PERCENT}", 100) as stage:
                while waiting or self._running:
                    for job in self._ready(waiting):
                        waiting.remove(job)
                        self._running[pool.submit(self._do, job)] = job
                    stage(self._percent(), figures=self._figures())
                    ended, _ = wait(self._running, timeout=1.0, return_when=FIRST_COMPLETED)
                    for future in ended:
                        self._end(self._running.pop(future), future.result())
                stage(100)
        except BaseException:
            self._processes.stop()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return {job.name: self._outcomes[job.name] for job in self._jobs}

    def _ready(self, waiting: Sequence[RunJob]) -> list[RunJob]:
        free = self._count - len(self._running)
        ready = [job for job in waiting if all(name in self._outcomes for name in job.after)]
        return ready[:free]

    def _do(self, job: RunJob) -> RunOutcome:
        """Runs a job, in a thread of its own."""
        config, done, again = None, {}, False
        try:
            work = job.make(self._outcomes)
            config = work.config
            file = self._folder / CONFIGS / f"{job.name}.yaml"
            text = config.to_yaml()
            write_text(file, text)
            key = hashlib.sha256(f"{work.data}\n{text}".encode()).hexdigest()
            done = {} if job.always else _recorded(self._folder, job.name, key)
            for verb in work.verbs:
                if verb in done and (config.run_folder / work.outputs[verb]).exists():
                    continue
                again = True
                ended = self._processes.run(verb, file, config.run.threads, self._folder / LOGS / f"{job.name}.log")
                # The time of a sitting that was killed is unknown; what it had done is not repeated.
                done[verb] = {"command": command(verb, file), **asdict(ended)}
                write_json(self._folder / RECORDS / f"{job.name}.json", {"key": key, "verbs": done})
        except M3CSRError as error:
            return RunOutcome(config, done, str(error), again)
        except Stopping:
            return RunOutcome(config, done, "it was stopped", again)
        except Exception as error:  # Whatever it is, the other jobs may hold hours of work.
            return RunOutcome(config, done, f"{type(error).__name__}: {printable(str(error))}", again)
        return RunOutcome(config, done, None, again)

    def _end(self, job: RunJob, outcome: RunOutcome) -> None:
        self._outcomes[job.name] = outcome
        if outcome.problem is not None:
            self._log_line(f"{job.name} has failed: {outcome.problem}")
        elif outcome.again:
            seconds = sum(verb["seconds"] for verb in outcome.verbs.values())
            self._log_line(f"{job.name} has finished after {seconds:,.0f} s")

    def _percent(self) -> int:
        """Returns the percentage of this sitting's work that is done, estimated by the time of similar jobs.

        What an earlier sitting has done is not counted: it takes no time now, and the remaining time is estimated from
        the percentage.
        """
        seconds: dict[str, list[float]] = {}
        for job in self._jobs:
            if (outcome := self._outcomes.get(job.name)) is not None and outcome.problem is None:
                seconds.setdefault(job.like, []).append(sum(verb["seconds"] for verb in outcome.verbs.values()))
        known = [second for seconds_of_kind in seconds.values() for second in seconds_of_kind]
        usual = sum(known) / len(known) if known else 1.0
        earlier = {name for name, outcome in self._outcomes.items() if not outcome.again}
        expected = {job.name: _mean(seconds.get(job.like), usual) for job in self._jobs if job.name not in earlier}
        done = sum(expected[name] for name in self._outcomes if name not in earlier)
        return min(99, round(100 * done / max(1e-9, sum(expected.values()))))

    def _figures(self) -> str:
        running = ", ".join(job.name for job in self._running.values())
        return f"{len(self._outcomes)} of {len(self._jobs)} runs; at work: {running or 'nothing'}"


def _mean(values: Sequence[float] | None, otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _recorded(folder: Path, name: str, key: str) -> dict[str, dict[str, Any]]:
    """Returns the verbs that have finished with this key; none if the record has another key, is broken or missing."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        tree = parse_json(regular(folder / RECORDS / f"{name}.json").read_bytes())
        if tree["key"] == key:
            return dict(tree["verbs"])
    return {}


def configuration_of(outcomes: Outcomes, name: str, gives: str) -> Config:
    """Returns the configuration of a job that another one needs.

    Args:
      outcomes: the outcomes of the jobs that have ended.
      name: the name of the job.
      gives: what it should have made, for the message, e.g. "data are".

    Raises:
      RunError: the job failed.
    """
    outcome = outcomes[name]
    if outcome.problem is not None or outcome.config is None:
        raise RunError(f"its {gives} missing, since {name} has failed")
    return outcome.config
