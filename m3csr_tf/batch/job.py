"""A batch job: an engine makes its parts, which are published together.

A job survives being killed, since it goes on with the parts that are missing, and several machines can share one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Protocol

from m3csr_tf.batch import output as outputs
from m3csr_tf.batch.job_folder import JobFacts, JobFolder, PartFacts
from m3csr_tf.config import JobConfig
from m3csr_tf.errors import InputError
from m3csr_tf.releases.release import Release
from m3csr_tf.util.progress import progress
from m3csr_tf.util.refusals import reason

Advance = Callable[[int], object]
"""Progress callback, which gets the number of users or items that have been completed since the last call."""


class InputsChanged(Exception):
    """The users or items are no longer those with which the job began."""


class Inputs(Protocol):
    """The users or items of a job, in a fixed order."""

    def digest(self) -> str:
        """Returns a SHA-256 of the users or items, in hex."""
        ...

    def count(self) -> int:
        """Returns the number of users or items."""
        ...


class PartMaker(Protocol):
    """Makes parts of a job; it holds all that this takes in memory."""

    def make(self, job: JobFolder, parts: Sequence[int], advance: Advance) -> None:
        """Makes parts one after the other; the content of a part depends on its number alone.

        Raises:
          InputsChanged: there are fewer users or items than when the job began.
        """
        ...


class BatchWork(Protocol):
    """The work of a job. It can be pickled and sent to another process that sees the same folders."""

    @property
    def paths(self) -> list[Path]:
        """Files and folders that the work reads."""
        ...

    def open_maker(self) -> PartMaker:
        """Loads what the work needs into this process, and returns the maker of its parts."""
        ...

    def shared(self, path: Path) -> BatchWork:
        """Returns the same work for other processes; inputs that they could not read otherwise go to `path`."""
        ...


class Engine(Protocol):
    """Gets the parts of a job made, in this process or elsewhere."""

    def __call__(self, work: BatchWork, job: JobFolder, parts: Sequence[int], advance: Advance) -> None:
        """Makes the parts, and returns when all of them are there.

        Raises:
          InputsChanged: there are fewer users or items than when the job began.
          M3CSRError: a part could not be made.
        """
        ...


def here(work: BatchWork, job: JobFolder, parts: Sequence[int], advance: Advance) -> None:
    """The engine that makes all parts in this process."""
    work.open_maker().make(job, parts, advance)


@dataclass(frozen=True)
class JobStatus:
    """The state of a job.

    Attributes:
      output: the path of the link to the parts.
      folder: the folder of the parts.
      inputs, rows, short: of the parts that are there, the numbers of users or items, of rows, and of users whose list
        has fewer than N items because no more unseen items were left.
      empty, unknown_users, ids, unknown_ids: counts over the users of those parts, as in `PartFacts`; 0 for items.
      parts: number of parts of the job.
      made: number of parts that this process made, or had made.
      missing: number of parts that are not there, because other processes are to make them; the output is published
        only when it is 0.
      position: number of journal segments of the release that the parts take into account.
      now: the clock when the job began, in Unix seconds, if the parts depend on it, otherwise None.
    """

    output: Path
    folder: Path
    inputs: int
    rows: int
    short: int
    empty: int
    unknown_users: int
    ids: int
    unknown_ids: int
    parts: int
    made: int
    missing: int
    position: int
    now: float | None


@dataclass(frozen=True)
class BatchJob:
    """The description of a job: what is made, from what, and where it goes.

    Attributes:
      inputs: the users or items.
      what: the word for them in messages, "users", "items" or "query items".
      identity: what the parts depend on beside the inputs, the size of parts and the journal, as JSON.
      version, position: current version and journal position of the release; position 0 if the journal does not matter.
      work: returns the work of a job with these facts: as of its position of the journal, and its time.
      output: the path of the link to the output.
      setting: the name of the setting of the output, for messages.
      now: the clock in Unix seconds, if the parts depend on it, otherwise None.
    """

    inputs: Inputs
    what: str
    identity: Mapping[str, Any]
    version: int
    position: int
    work: Callable[[JobFacts], BatchWork]
    output: Path
    setting: str
    now: float | None = None


def run(wanted: BatchJob, config: JobConfig, engine: Engine = here) -> JobStatus:
    """Makes all parts, or the share of `config.shard`, and publishes the output when all parts are there.

    The output is a folder of parquet parts behind a link (see `output`). If the job is killed at any moment, the same
    call makes the missing parts, as of the same position of the journal. If anything else has changed, the job starts
    anew. A finished job is not repeated.

    Raises:
      InputError: the inputs cannot be read or change while they are read, or the output cannot be written.
      RunError: the output path holds something other than a job's output, or another job is writing to it.
    """
    output = wanted.output
    if output.name in {"", ".."}:
        raise InputError(f"{output}: does not end in a name; {wanted.setting} must, e.g. runs/small/top_n")
    with progress(f"reading the {wanted.what}"):
        identity = {**wanted.identity, wanted.what: wanted.inputs.digest(), "part_size": config.part_size}
    share, shares = config.shard_of
    try:
        with outputs.claimed(
            output,
            identity,
            wanted.version,
            wanted.position,
            wanted.inputs.count,
            config.overwrite,
            wanted.now,
        ) as job:
            own = range(share - 1, job.facts.parts, shares)
            there = {part: job.part(part) for part in own}
            todo = [part for part, facts in there.items() if facts is None]
            if todo:
                work = wanted.work(job.facts)
                total = sum(map(job.size, own))
                done_before = total - sum(map(job.size, todo))
                with progress(f"the job, {wanted.what}", total, done_before) as stage:
                    try:
                        engine(work, job, todo, stage.advance)
                        _require_same(wanted.inputs, identity[wanted.what])
                    except InputsChanged:
                        outputs.discard(output, job, todo)
                        raise InputError(
                            f"{output}: the file of {wanted.what} changed while it was read; run again"
                        ) from None
            while True:
                in_place = outputs.commit(output, job)
                done = _summary(output, job, len(todo))
                # If nothing was missing after a failed commit, another process has just made the last part: try again.
                if in_place or done.missing:
                    return done
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {reason(error)} ({wanted.setting})") from None


def as_it_was(release: Release, position: int) -> Release:
    """Returns the release as it was at a position of its journal."""
    if release.journal.length() == position and release.position == position:
        return release
    return Release(release.folder, release.manifest, until=position)


def _require_same(inputs: Inputs, digest: str) -> None:
    """Raises InputsChanged unless the users or items are still those with which the job began."""
    try:
        same = inputs.digest() == digest
    except OSError:
        same = False
    if not same:
        raise InputsChanged


def _summary(output: Path, job: JobFolder, made: int) -> JobStatus:
    there = [facts for part in range(job.facts.parts) if (facts := job.part(part))]
    sums = reduce(PartFacts.plus, there, PartFacts())
    missing = job.facts.parts - len(there)
    return JobStatus(
        output,
        job.folder,
        *sums,
        parts=job.facts.parts,
        made=made,
        missing=missing,
        position=job.facts.position,
        now=job.facts.now,
    )
