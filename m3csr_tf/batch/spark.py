"""The engine that has the parts of a job made by Spark's workers, one task for each part.

A task does for its part what the local engine does. The work is pickled, opened once in each worker process, and kept
there for later tasks. Parts are written into the job's folder, which driver and workers share, each to a temporary name
first and then renamed. So a task that runs twice, because an executor died or by speculative execution, puts the same
part in the same place. An error that no repetition would cure, such as one in a user's row, is passed to the driver
through an accumulator and raised there; its task is not tried again.
"""

from __future__ import annotations

import logging
import math
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from m3csr_tf.batch.job import Advance, BatchWork, InputsChanged, PartMaker
from m3csr_tf.batch.job_folder import JobFolder
from m3csr_tf.batch.spark_session import java_message, session
from m3csr_tf.config import SparkConfig
from m3csr_tf.errors import EngineError, InputError, M3CSRError

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.status import SparkStageInfo

logger = logging.getLogger(__name__)

_POLL = 0.2
"""Seconds between two looks at the progress of the job."""
_IDLE = 60.0
"""Seconds without any running or finished task after which the log says that Spark waits for executors."""
_PATIENCE = 30.0
"""Seconds that the running tasks of a cancelled job get to end."""

Finished = dict[int, Exception | None]
"""Parts whose tasks have ended -> the error that ended a task for good, or None if it succeeded."""


class SparkEngine:
    """Has the parts of a job made by Spark (`job.Engine`).

    Args:
      config: the settings of Spark; they have no effect if this process has a Spark session already.
    """

    def __init__(self, config: SparkConfig) -> None:
        self._config = config

    def __call__(self, work: BatchWork, job: JobFolder, parts: Sequence[int], advance: Advance) -> None:
        """See `job.Engine`.

        Raises:
          EngineError: Spark cannot be started, gave up on a part, or its workers do not share the job's folder.
        """
        with session(self._config) as spark:
            inputs = job.inputs_path()
            try:
                _make(spark.sparkContext, _Task.of(work.shared(inputs), job), job, parts, advance)
            finally:
                inputs.unlink(missing_ok=True)
                job.tidy(parts)
        lost = [part for part in parts if job.part(part) is None]
        if lost:
            raise EngineError(
                f"{job.folder}: {len(lost)} of the {len(parts)} parts that Spark's workers made are not there; the "
                "output must be in a folder that driver and workers share"
            )


@dataclass(frozen=True)
class _Task:
    """What is sent to a worker.

    Attributes:
      work: the work, pickled by cloudpickle to bytes, so that an error in unpickling it can be caught in the task.
      paths: the paths that the work reads.
      folder: the job's folder.
      job: the job's id.
    """

    work: bytes
    paths: list[Path]
    folder: Path
    job: str

    @classmethod
    def of(cls, work: BatchWork, job: JobFolder) -> _Task:
        from pyspark import cloudpickle

        paths = [path.absolute() for path in work.paths]
        return cls(cloudpickle.dumps(work), paths, job.folder.absolute(), job.facts.id)

    def make(self, part: int) -> None:
        """Makes a part unless it is there already; this runs in a worker."""
        job = self._job()
        if job.part(part) is None:
            _maker_of(self.work).make(job, [part], lambda count: None)

    def _job(self) -> JobFolder:
        for path in (self.folder, *self.paths):
            if not path.exists():
                raise InputError(
                    f"{path}: Spark's worker on {socket.gethostname()} does not see it; release, inputs and output "
                    "must lie in folders that driver and workers share, under the same path"
                )
        job = JobFolder.open(self.folder)
        if job is None or job.facts.id != self.job:
            raise InputError(
                f"{self.folder}: Spark's worker on {socket.gethostname()} sees another folder there than the driver; "
                "the output must be in a folder that they share"
            )
        return job


_loaded_work: tuple[bytes, PartMaker] | None = None
"""The latest work of this worker process, whose release and index stay loaded from task to task."""


def _maker_of(work: bytes) -> PartMaker:
    global _loaded_work
    if _loaded_work is None or _loaded_work[0] != work:
        _loaded_work = None
        from pyspark import cloudpickle

        arrived: BatchWork = cloudpickle.loads(work)
        _use_cores_of_task()
        _loaded_work = work, arrived.open_maker()
    return _loaded_work[1]


def _use_cores_of_task() -> None:
    """Limits TensorFlow to the cores that Spark assigns to a task (spark.task.cpus): each task has its own process."""
    import tensorflow as tf
    from pyspark import TaskContext

    context = TaskContext.get()
    cores = context.cpus() if context is not None else 1
    try:
        tf.config.threading.set_intra_op_parallelism_threads(cores)
        tf.config.threading.set_inter_op_parallelism_threads(cores)
    except RuntimeError:
        pass  # TensorFlow was started by an earlier job's task in this process, and keeps its number of threads.


def _run(task: _Task, finished: Any) -> Callable[[Iterable[int]], None]:
    def run(parts: Iterable[int]) -> None:
        for part in parts:
            try:
                task.make(part)
                finished.add({part: None})
            except (M3CSRError, InputsChanged) as error:
                finished.add({part: error})

    return run


def _make(context: SparkContext, task: _Task, job: JobFolder, parts: Sequence[int], advance: Advance) -> None:
    from pyspark import AccumulatorParam, InheritableThread

    class Union(AccumulatorParam[Finished]):
        def zero(self, value: Finished) -> Finished:
            return {}

        def addInPlace(self, value1: Finished, value2: Finished) -> Finished:
            value1.update(value2)
            return value1

    finished = context.accumulator({}, Union())
    group, failed = f"m3csr_tf-{uuid4().hex}", []

    def submit() -> None:
        context.setJobGroup(group, f"parts of {job.folder.name}")
        try:
            context.parallelize(parts, len(parts)).foreachPartition(_run(task, finished))
        except Exception as error:
            failed.append(error)

    thread = InheritableThread(target=submit, daemon=True)
    counted: set[int] = set()
    warn_at = time.monotonic() + _IDLE
    thread.start()
    try:
        while True:
            running = thread.is_alive()
            done: Finished = dict(finished.value)
            for part in done.keys() - counted:
                counted.add(part)
                if done[part] is not None:
                    raise done[part]  # type: ignore[misc]
                advance(job.size(part))
            if not running:
                break
            if time.monotonic() > warn_at:
                warn_at = _warn_if_idle(context, group)
            thread.join(_POLL)
    finally:
        if thread.is_alive():
            _give_up(context, group)
            thread.join(_PATIENCE)
    if failed:
        raise EngineError(f"{job.folder}: Spark gave a part up ({_reason(failed[0])}); the executors' logs say more")


def _warn_if_idle(context: SparkContext, group: str) -> float:
    """Warns if no task of a group has started, and returns the time at which to look again."""
    if any(info.numActiveTasks or info.numCompletedTasks for info in _stages(context, group)):
        return math.inf
    logger.warning(
        "Spark has started no task for %.0f s, and goes on waiting: no executor has joined, or none is free; has the "
        "cluster got a worker with spark.executor.memory and spark.executor.cores to spare?",
        _IDLE,
    )
    return time.monotonic() + 10 * _IDLE


def _give_up(context: SparkContext, group: str) -> None:
    """Cancels the tasks of a group, and waits until running ones have ended, so that none writes any more."""
    until = time.monotonic() + _PATIENCE
    context.cancelJobGroup(group)
    while time.monotonic() < until and any(info.numActiveTasks for info in _stages(context, group)):
        time.sleep(_POLL)


def _stages(context: SparkContext, group: str) -> list[SparkStageInfo]:
    """Returns the current stages of a group of Spark jobs."""
    tracker = context.statusTracker()
    jobs = [found for number in tracker.getJobIdsForGroup(group) if (found := tracker.getJobInfo(number))]
    return [info for job in jobs for stage in job.stageIds if (info := tracker.getStageInfo(stage))]


def _reason(error: Exception) -> str:
    """Returns the reason of a failure in one line: the last line of the worker's traceback, if there is one."""
    lines = [line.strip() for line in str(error).splitlines()]
    starts = [at for at, line in enumerate(lines) if "Traceback (most recent call last)" in line]
    if starts:
        after = next((at for at in range(starts[-1], len(lines)) if not lines[at]), len(lines))
        return lines[after - 1]
    return java_message(error)
