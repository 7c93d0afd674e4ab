"""Where what a job makes goes: parts in a hidden folder, and a link to it that is turned when the last part is there.

runs/<name>/
  top_n -> .top_n-<id>     what readers open, e.g. pandas.read_parquet("runs/<name>/top_n")
  .top_n-<id>/             a job: part-00000-<id>.parquet, part-00001-<id>.parquet, ...; _job.json, _working
  .top_n.lock

Readers see the lists of one job, whole. The id is in the names of the parts, so that one who has listed the parts of a
job while the link was turned cannot open those of the next by mistake. A part appears by renaming, when it is on the
disk; so what of a job is there after a kill is good, and a later sitting makes the rest. Parquet readers pass over
names with "." or "_" in front.
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
) -> Iterator[JobFolder]:
    """The job with this identity: one that is there, finished or not, or a new one.

    Several processes may work on a job at once. One that is left without a part leaves nothing.

    Args:
      output: the link.
      identity: as in `JobFacts`, with the key "part_size", users or items of a part.
      version, position: of the release now. A finished job counts if it is of this position; an unfinished one goes on
        at the position that it began with.
      count: how many users or items there are; called only for a new job.
      overwrite: make a finished job again.

    Raises:
      RunError: what lies at `output` is no link of a job, or that of a job of another kind, or another job is being
        made for it.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with locked(_lock(output)):
        job = _found(output, identity, position, overwrite)
        if job is None:
            job = _created(output, identity, version, position, count())
        working = shareable_file(job.folder / WORKING)
        if _alone(working):
            for leftover in (path for pattern in _LEFTOVERS for path in job.folder.glob(pattern)):
                leftover.unlink()
        fcntl.flock(working, fcntl.LOCK_SH)
    try:
        yield job
    finally:
        with working, locked(_lock(output)):
            # Parts are looked for last: while one waited for the locks, another process may have made some.
            if _alone(working) and not any(job.folder.glob("part-*")):
                shutil.rmtree(job.folder)


def commit(output: Path, job: JobFolder) -> bool:
    """Turns the link to the job if all of its parts are there, and removes what it named before.

    What others work on stays; a later sitting removes it.

    Returns:
      Whether all parts are there: the link then names the job, or a later one.
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
    """Removes parts of a job that turned out wrong, unless the link names it."""
    with locked(_lock(output)):
        there = current(output)
        if there is None or there.folder != job.folder:
            for part in parts:
                job.path(part).unlink(missing_ok=True)


def current(output: Path) -> JobFolder | None:
    """The job that the link names; None if there is no link, or nothing behind it.

    Raises:
      RunError: something else lies there.
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


def _found(output: Path, identity: Mapping[str, Any], position: int, overwrite: bool) -> JobFolder | None:
    """The job to go on with, or to leave as it is; unfinished ones of another identity are removed."""
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


def _created(output: Path, identity: Mapping[str, Any], version: int, position: int, inputs: int) -> JobFolder:
    finished = current(output)
    again = 0
    if finished is not None and finished.facts.identity == identity and finished.facts.position == position:
        again = finished.facts.again + 1
    name = job_id(identity, position, again)
    facts = JobFacts(
        id=name,
        identity=dict(identity),
        version=version,
        position=position,
        again=again,
        number=1 if finished is None else finished.facts.number + 1,
        inputs=inputs,
        parts=-(-inputs // identity["part_size"]),
    )
    folder = output.with_name(f".{output.name}-{name}")
    folder.mkdir()
    write_json(folder / JOB, asdict(facts))
    return JobFolder(folder, facts)


def _remove(folder: Path, output: Path, identity: Mapping[str, Any], finished: int) -> None:
    """Removes a folder that is not gone on with, and says so if it is of a later job than the finished one."""
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
    """Takes the lock of a job's folder if no other process has it."""
    try:
        fcntl.flock(working, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
