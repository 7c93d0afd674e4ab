"""The output of a job: parts in a hidden folder, and a link that is switched to it when the last part is there.

runs/<name>/
  top_n -> .top_n-<id>     what readers open, e.g. pandas.read_parquet("runs/<name>/top_n")
  .top_n-<id>/             a job: part-00000-<id>.parquet, part-00001-<id>.parquet, ...; _job.json, _working
  .top_n.lock

Readers always see the complete lists of a single job. The id is part of the names of the parts, so that a reader who
listed the parts of one job just before the link was switched cannot open parts of the next job by mistake. A part
appears under its name by renaming, once it is safely on disk. What a killed job has left is therefore complete, and a
later call makes the rest. Parquet readers skip names that begin with "." or "_".
"""

from __future__ import annotations

import fcntl
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from m3csr_tf.batch.job_folder import INPUTS, JOB, WORKING, JobFacts, JobFolder, job_id, phrase
from m3csr_tf.errors import RunError
from m3csr_tf.util.files import sync, write_json
from m3csr_tf.util.locks import locked, shareable_file
from m3csr_tf.util.names import job_folders

logger = logging.getLogger(__name__)

_KINDS = (
    ("users", "top-N lists", "retrieve.output"),
    ("items", "item vectors", "embed.output"),
    ("query items", "lists of similar items", "similar.output"),
)
"""What jobs are for, as in their identity; what they make; and the setting of where it goes."""
_LEFTOVERS = (".part-*", f"{INPUTS}*", f".{INPUTS}*")


@contextmanager
def claimed(
    output: Path,
    identity: Mapping[str, Any],
    version: int,
    position: int,
    count: Callable[[], int],
    overwrite: bool = False,
    now: float | None = None,
) -> Iterator[JobFolder]:
    """Yields the job with this identity: an existing one, finished or not, or a new one.

    Several processes may work on a job at the same time. A job that ends without any part leaves no folder behind.

    Args:
      output: the path of the link.
      identity: as in `JobFacts`, with the key "part_size", the number of users or items of a part.
      version, position: current version and journal position of the release. A finished job is reused only if it is of
        this position; an unfinished one continues at the position with which it began.
      count: returns the number of users or items; it is called for a new job only.
      overwrite: make a finished job again.
      now: the clock in Unix seconds, if the parts depend on it. A finished job of another time is not reused; an
        unfinished one continues with the time at which it began.

    Raises:
      RunError: what lies at `output` is not the link of a job, or belongs to a job of another kind, or another job is
        writing to it.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with locked(_lock(output)):
        job = _found(output, identity, position, overwrite, now)
        if job is None:
            job = _created(output, identity, version, position, count(), now)
        working = shareable_file(job.folder / WORKING)
        if _alone(working):
            for leftover in (path for pattern in _LEFTOVERS for path in job.folder.glob(pattern)):
                leftover.unlink()
        fcntl.flock(working, fcntl.LOCK_SH)
    try:
        yield job
    finally:
        with working, locked(_lock(output)):
            # The parts are looked up last, since another process may have made some while this one waited for the lock.
            if _alone(working) and not any(job.folder.glob("part-*")):
                shutil.rmtree(job.folder)


def commit(output: Path, job: JobFolder) -> bool:
    """Switches the link to the job if all of its parts are there, and removes the job that it named before.

    If another process still works on that earlier job, its folder stays, and a later call removes it.

    Returns:
      Whether all parts are there; if so, the link names this job or a later one.
    """
    with locked(_lock(output)):
        if job.missing():
            return False
        before = current(output)
        if before is None or before.facts.number < job.facts.number:
            temporary = output.with_name(f".{output.name}.link")
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(job.folder.name, target_is_directory=True)
            temporary.replace(output)
            sync(output.parent)
            if before is not None:
                with shareable_file(before.folder / WORKING) as working:
                    if _alone(working):
                        shutil.rmtree(before.folder)
    return True


def discard(output: Path, job: JobFolder, parts: Iterable[int]) -> None:
    """Removes parts of a job that turned out wrong, unless the link names the job."""
    with locked(_lock(output)):
        there = current(output)
        if there is None or there.folder != job.folder:
            for part in parts:
                job.path(part).unlink(missing_ok=True)


def current(output: Path) -> JobFolder | None:
    """Returns the job that the link names, or None if there is no link or its target is missing.

    Raises:
      RunError: something other than the link of a job lies there.
    """
    if output.is_symlink():
        target = str(output.readlink())
        if re.fullmatch(rf"\.{re.escape(output.name)}-[0-9a-f]{{16}}", target):
            return JobFolder.open(output.with_name(target))
    elif not output.exists():
        return None
    raise RunError(
        f"{output}: is not a link that an earlier job made, so it is not replaced; move it away, or choose another "
        f"output ({', '.join(setting for _, _, setting in _KINDS)})"
    )


def _found(
    output: Path, identity: Mapping[str, Any], position: int, overwrite: bool, now: float | None
) -> JobFolder | None:
    """Returns the job to continue or to keep, or None; unfinished jobs of another identity are removed."""
    finished = current(output)
    _require_kind(output, identity, finished)
    others = [path for path in _folders(output) if finished is None or path != finished.folder]
    jobs = [job for job in map(JobFolder.open, others) if job is not None]
    same = [
        job
        for job in jobs
        if job.facts.identity == identity and (finished is None or job.facts.number > finished.facts.number)
    ]
    unfinished = max(same, key=lambda job: job.facts.number, default=None)
    is_there = (
        finished is not None
        and finished.facts.identity == identity
        and finished.facts.position == position
        and finished.facts.now == now
        and not finished.missing()
    )
    if is_there and not overwrite:
        return finished
    for folder in others:
        if unfinished is None or folder != unfinished.folder:
            _remove(folder, output, identity, 0 if finished is None else finished.facts.number)
    return unfinished


def _require_kind(output: Path, identity: Mapping[str, Any], finished: JobFolder | None) -> None:
    """Refuses to put what a job of another kind makes in the place of what is there."""
    setting = next((setting for kind, _, setting in _KINDS if kind in identity), "")
    for kind, called, _ in _KINDS:
        if finished is not None and kind in finished.facts.identity and kind not in identity:
            raise RunError(
                f"{output}: holds {called}, and this job would put something else in their place; choose another "
                f"output ({setting}), or move them away"
            )


def _created(
    output: Path, identity: Mapping[str, Any], version: int, position: int, inputs: int, now: float | None
) -> JobFolder:
    finished = current(output)
    again = 0
    if finished is not None and finished.facts.identity == identity and finished.facts.position == position:
        again = finished.facts.again + 1
    name = job_id(identity, position, again, now)
    facts = JobFacts(
        id=name,
        identity=dict(identity),
        version=version,
        position=position,
        again=again,
        number=1 if finished is None else finished.facts.number + 1,
        inputs=inputs,
        parts=-(-inputs // identity["part_size"]),
        now=now,
    )
    folder = output.with_name(f".{output.name}-{name}")
    folder.mkdir()
    write_json(folder / JOB, asdict(facts))
    return JobFolder(folder, facts)


def _remove(folder: Path, output: Path, identity: Mapping[str, Any], finished: int) -> None:
    """Removes a folder that is not continued, and logs it if it belongs to a later job than the finished one."""
    with shareable_file(folder / WORKING) as working:
        job = JobFolder.open(folder)
        if not _alone(working):
            if job is not None and job.facts.number <= finished:
                return
            raise RunError(
                f"{output}: another job is being made for it in {folder.name}; wait until it has ended, or choose "
                "another output"
            )
        if job is not None and job.facts.number > finished:
            differing = [name for name, value in identity.items() if job.facts.identity.get(name) != value]
            logger.warning(
                "%s: removed an unfinished job, as its %s differed; this one starts anew", output, phrase(differing)
            )
        shutil.rmtree(folder)


def _folders(output: Path) -> list[Path]:
    return [path for path in job_folders(output) if path.is_dir() and not path.is_symlink()]


def _lock(output: Path) -> Path:
    return output.with_name(f".{output.name}.lock")


def _alone(working: Any) -> bool:
    """Takes the exclusive lock of a job's folder if no other process holds a lock on it, and returns whether it did."""
    try:
        fcntl.flock(working, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
