"""A batch job: parts made by an engine, put in place together; it survives being killed, and machines can share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Protocol

from m3csr_tf.batch import output as outputs
from m3csr_tf.batch.job_folder import JobFolder, PartFacts
from m3csr_tf.config import JobConfig
from m3csr_tf.errors import InputError
from m3csr_tf.releases.release import Release
from m3csr_tf.util.progress import progress
from m3csr_tf.util.refusals import reason

Advance = Callable[[int], object]
"""Gets how many users or items have been done."""


class InputsChanged(Exception):
    """The users or items are no more those that the job began with."""


class Inputs(Protocol):
    """Users or items in a fixed order."""

    def digest(self) -> str:
        """SHA-256 of what they are, hex."""
        ...

    def count(self) -> int:
        """How many they are."""
        ...


class PartMaker(Protocol):
    """Makes parts of a job, with all that it takes in memory."""

    def make(self, job: JobFolder, parts: Sequence[int], advance: Advance) -> None:
        """Makes parts, one after the other; what is in one depends on its number alone.

        Raises:
          InputsChanged: there are fewer users or items than when the job began.
        """
        ...


class BatchWork(Protocol):
    """What a job makes. Pickled, it can be sent to another process that sees the same folders."""

    @property
    def paths(self) -> list[Path]:
        """Files and folders that it reads."""
        ...

    def open_maker(self) -> PartMaker:
        """What makes it, loaded into this process."""
        ...

    def shared(self, path: Path) -> BatchWork:
        """The same work for other processes; what they cannot read otherwise is written to `path`."""
        ...


class Engine(Protocol):
    """Has parts of a job made, wherever."""

    def __call__(self, work: BatchWork, job: JobFolder, parts: Sequence[int], advance: Advance) -> None:
        """Returns when all parts are there.

        Raises:
          InputsChanged: as in `PartMaker`.
          M3CSRError: a part could not be made.
        """
        ...


def here(work: BatchWork, job: JobFolder, parts: Sequence[int], advance: Advance) -> None:
    """The engine that makes all parts in this process."""
    work.open_maker().make(job, parts, advance)


@dataclass(frozen=True)
class JobStatus:
    """Where a job stands.

    Attributes:
      output: the link to the parts.
      folder: where the parts lie.
      inputs, rows, short: of the parts that are there: users or items, rows, and users with fewer than N items, because
        no more were left that they had not seen.
      empty, unknown_users, ids, unknown_ids: of the users of those parts, as in `PartFacts`; 0 for items.
      parts: of the job.
      made: parts that this process made, or had made.
      missing: parts that are not there, which other processes are to make; only without any the output is in place.
      position: segments of the release's journal that the parts know of.
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


@dataclass(frozen=True)
class BatchJob:
    """What is to be made, from what, and where to.

    Attributes:
      inputs: users or items.
      what: what they are called: "users", "items" or "query items".
      identity: what the parts depend on besides the inputs, the size of parts and the journal, as JSON.
      version, position: of the release now; position 0 where its journal does not matter.
      work: what to make, as of a position of the journal.
      output: the link.
      setting: name of the setting of the output, for messages.
    """

    inputs: Inputs
    what: str
    identity: Mapping[str, Any]
    version: int
    position: int
    work: Callable[[int], BatchWork]
    output: Path
    setting: str


def run(wanted: BatchJob, config: JobConfig, engine: Engine = here) -> JobStatus:
    """Makes all parts, or the share of `config.shard`, and puts them in place when all are there.

    What is made is a folder of parquet parts behind a link, see `output`. Killed at any moment, the same call makes the
    parts that are missing, as of the same position of the journal. If anything else has changed, the job starts anew. A
    finished job is not made again.

    Raises:
      InputError: inputs cannot be read, change while they are read, or the output cannot be written.
      RunError: the output is something else than a job's, or another job is being made for it.
    """
    output = wanted.output
    if output.name in {"", ".."}:
        raise InputError(f"{output}: does not end in a name; {wanted.setting} must, e.g. runs/small/top_n")
    with progress(f"reading the {wanted.what}"):
        identity = {**wanted.identity, wanted.what: wanted.inputs.digest(), "part_size": config.part_size}
    share, shares = config.shard_of
    try:
        with outputs.claimed(
            output, identity, wanted.version, wanted.position, wanted.inputs.count, config.overwrite
        ) as job:
            own = range(share - 1, job.facts.parts, shares)
            there = {part: job.part(part) for part in own}
            todo = [part for part, facts in there.items() if facts is None]
            if todo:
                work = wanted.work(job.facts.position)
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
                # Another process may have made the last part between the two.
                if in_place or done.missing:
                    return done
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {reason(error)} ({wanted.setting})") from None


def as_it_was(release: Release, position: int) -> Release:
    """The release as of a position of its journal."""
    if release.journal.length() == position and release.position == position:
        return release
    return Release(release.folder, release.manifest, until=position)


def _require_same(inputs: Inputs, digest: str) -> None:
    """Raises InputsChanged unless the users or items are still those that the job began with."""
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
        output, job.folder, *sums, parts=job.facts.parts, made=made, missing=missing, position=job.facts.position
    )
