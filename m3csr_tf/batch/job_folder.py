"""The folder of a job's parts on disk: it says what belongs in it, and writes each part to a temporary name first."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, NonNegativeInt, PositiveInt

from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.files import regular, replacing
from m3csr_tf.util.stored import checked

logger = logging.getLogger(__name__)

JOB = "_job.json"

WORKING = "_working"
"""Name of the file that every process working on the job locks, so that no other job removes the folder."""

_META = b"m3csr_tf"

INPUTS = "_inputs-"
"""Prefix of files of users that the job writes beside its parts for other processes, and removes afterwards."""


class PartFacts(NamedTuple):
    """The statistics of a part, which are stored in the part itself.

    Attributes:
      inputs: number of users or items that the part was made for.
      rows: number of rows of the part.
      short: number of users with fewer items than were asked for.
      empty: number of users without a history, or of query items that have nothing of what is compared.
      unknown_users: number of users that the release does not know.
      ids, unknown_ids: number of ids in histories and exclusions, or of query items given by id, and of those that are
        no items of the release.
    """

    inputs: int = 0
    rows: int = 0
    short: int = 0
    empty: int = 0
    unknown_users: int = 0
    ids: int = 0
    unknown_ids: int = 0

    def plus(self, other: PartFacts) -> PartFacts:
        """Returns the sums over both parts."""
        return PartFacts(*(one + more for one, more in zip(self, other, strict=True)))


@dataclass(frozen=True)
class JobFacts:
    """The facts that identify a job, the contents of its _job.json.

    Attributes:
      id: the id of the job's parts, which is the same on every machine that makes the same parts.
      identity: what the parts depend on, as JSON: release, users or items, filters and settings.
      version: version of the release.
      position: number of journal segments of the release that the parts take into account.
      again: how many times the same parts had been made before.
      number: number of the job in the sequence of jobs with the same output.
      inputs: number of users or items.
      parts: number of parts into which they are divided.
      now: the clock when the job began, in Unix seconds, if the parts depend on it, otherwise None.
    """

    id: str
    identity: dict[str, Any]
    version: int
    position: int
    again: int
    number: int
    inputs: int
    parts: int
    now: float | None = None


class _PartSize(BaseModel):
    part_size: PositiveInt


class _Job(BaseModel):
    id: str
    identity: _PartSize
    version: int
    position: int
    again: int
    number: int
    inputs: NonNegativeInt
    parts: NonNegativeInt
    now: float | None = None


class JobFolder:
    """A job's folder.

    Args:
      folder: the path of the folder.
      facts: the contents of its _job.json.
    """

    def __init__(self, folder: Path, facts: JobFacts) -> None:
        self.folder = folder
        self.facts = facts

    @classmethod
    def open(cls, folder: Path) -> JobFolder | None:
        """Opens the job of a folder; returns None if there is none, or if its _job.json was truncated or edited."""
        try:
            tree = parse_json(regular(folder / JOB).read_bytes())
            checked(_Job, tree)
            facts = JobFacts(**tree)
        except (OSError, ValueError, TypeError):
            return None
        parts = -(-facts.inputs // facts.identity["part_size"])
        whole = facts.id == job_id(facts.identity, facts.position, facts.again, facts.now) and facts.parts == parts
        return cls(folder, facts) if whole else None

    def size(self, part: int) -> int:
        """Returns the number of users or items of a part."""
        part_size = int(self.facts.identity["part_size"])
        return min(part_size, self.facts.inputs - part * part_size)

    def path(self, part: int) -> Path:
        """Returns the path of a part."""
        return self.folder / f"part-{part:05d}-{self.facts.id}.parquet"

    def part(self, part: int) -> PartFacts | None:
        """Returns the statistics of a part, or None if the part is missing or was truncated in copying."""
        path = self.path(part)
        try:
            return PartFacts(**parse_json(pq.read_metadata(regular(path)).metadata[_META]))
        except FileNotFoundError:
            return None
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
            logger.warning("%s: cannot be read, and is made again", path)
            return None

    def missing(self) -> list[int]:
        """Returns the numbers of the parts that are not there."""
        return [part for part in range(self.facts.parts) if self.part(part) is None]

    def inputs_path(self) -> Path:
        """Returns a new path for a parquet file of users or items that other processes read while they make parts."""
        return self.folder / f"{INPUTS}{secrets.token_hex(8)}.parquet"

    def tidy(self, parts: Iterable[int]) -> None:
        """Removes temporary files of some parts that killed processes left behind; nobody may be working on them."""
        names = {f".{self.path(part).name}" for part in parts}
        for path in self.folder.glob(".part-*"):
            if path.name.partition(".parquet")[0] + ".parquet" in names:
                path.unlink(missing_ok=True)

    @contextmanager
    def writing(self, part: int, schema: pa.Schema) -> Iterator[PartWriter]:
        """Yields a writer for a part, which is moved to its place, and is safely on disk, if the block succeeds."""
        # Scores and vectors hardly repeat, so encoding them by a dictionary would cost time and space.
        named = [
            field.name for field in schema if not (pa.types.is_floating(field.type) or pa.types.is_list(field.type))
        ]
        with (
            replacing(self.path(part)) as temporary,
            pq.ParquetWriter(temporary, schema, use_dictionary=named) as stream,
        ):
            writer = PartWriter(stream)
            yield writer
            stream.add_key_value_metadata({_META: json.dumps(writer.facts._asdict())})


class PartWriter:
    """Writes batches into a part, one row group for each.

    Args:
      stream: the parquet writer of the part.
    """

    def __init__(self, stream: pq.ParquetWriter) -> None:
        self._stream = stream
        self.facts = PartFacts()

    def write(self, batch: pa.Table, facts: PartFacts) -> None:
        """Appends the output for some users or items; `facts` holds all their statistics except the number of rows."""
        self._stream.write_table(batch, row_group_size=max(1, len(batch)))
        self.facts = self.facts.plus(facts._replace(rows=len(batch)))


def phrase(names: Sequence[str]) -> str:
    """Joins the names of settings into a phrase for a message."""
    return " and ".join(name.replace("_", " ") for name in names)


def job_id(identity: Mapping[str, Any], position: int, again: int, now: float | None = None) -> str:
    """Returns a job's id: 16 hex digits of a digest of its identity, journal position, repetition number and clock."""
    key = json.dumps([identity, position, again, *([] if now is None else [now])], sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest()[:16]
