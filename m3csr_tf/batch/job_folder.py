"""A job's folder of parts on the disk: what it must hold, and writing a part beside and renaming it."""

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
"""Locked by every process that works on the job, so that no other job removes it."""

_META = b"m3csr_tf"

INPUTS = "_inputs-"
"""Users that the job lays beside its parts for other processes, while those work."""


class PartFacts(NamedTuple):
    """What a part holds.

    Attributes:
      inputs: users or items it was made for.
      rows: of the part.
      short: users whose list is short.
      empty: users without a history.
      unknown_users: users that the release does not know.
      ids, unknown_ids: of histories and exclusions, and those of them that are no items of the release.
    """

    inputs: int = 0
    rows: int = 0
    short: int = 0
    empty: int = 0
    unknown_users: int = 0
    ids: int = 0
    unknown_ids: int = 0

    def plus(self, other: PartFacts) -> PartFacts:
        """What both hold together."""
        return PartFacts(*(one + more for one, more in zip(self, other, strict=True)))


@dataclass(frozen=True)
class JobFacts:
    """What makes a job what it is.

    Attributes:
      id: of these parts; the same on every machine that makes the same.
      identity: what the parts depend on, as JSON: release, users or items, filters, settings.
      version: of the release.
      position: segments of the release's journal that the parts know of.
      again: how many times the same parts had been made before.
      number: of the job among those of the same output.
      inputs: how many users or items there are.
      parts: into how many parts they are divided.
    """

    id: str
    identity: dict[str, Any]
    version: int
    position: int
    again: int
    number: int
    inputs: int
    parts: int


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


class JobFolder:
    """A job's folder.

    Args:
      folder: where it lies.
      facts: contents of its _job.json.
    """

    def __init__(self, folder: Path, facts: JobFacts) -> None:
        self.folder = folder
        self.facts = facts

    @classmethod
    def open(cls, folder: Path) -> JobFolder | None:
        """The job in a folder; None if there is none, or what it says of itself was cut short or changed."""
        try:
            tree = parse_json(regular(folder / JOB).read_bytes())
            checked(_Job, tree)
            facts = JobFacts(**tree)
        except (OSError, ValueError, TypeError):
            return None
        parts = -(-facts.inputs // facts.identity["part_size"])
        whole = facts.id == job_id(facts.identity, facts.position, facts.again) and facts.parts == parts
        return cls(folder, facts) if whole else None

    def size(self, part: int) -> int:
        """Users or items of a part."""
        part_size = int(self.facts.identity["part_size"])
        return min(part_size, self.facts.inputs - part * part_size)

    def path(self, part: int) -> Path:
        """Where a part lies."""
        return self.folder / f"part-{part:05d}-{self.facts.id}.parquet"

    def part(self, part: int) -> PartFacts | None:
        """What a part holds; None if it is not there, or was cut short in copying."""
        path = self.path(part)
        try:
            return PartFacts(**parse_json(pq.read_metadata(regular(path)).metadata[_META]))
        except FileNotFoundError:
            return None
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
            logger.warning("%s: cannot be read, and is made again", path)
            return None

    def missing(self) -> list[int]:
        """Parts that are not there."""
        return [part for part in range(self.facts.parts) if self.part(part) is None]

    def inputs_path(self) -> Path:
        """A new name for a parquet file of users or items that other processes read while they make parts."""
        return self.folder / f"{INPUTS}{secrets.token_hex(8)}.parquet"

    def tidy(self, parts: Iterable[int]) -> None:
        """Removes what processes that died have left of some parts, on which nobody works any more."""
        names = {f".{self.path(part).name}" for part in parts}
        for path in self.folder.glob(".part-*"):
            if path.name.partition(".parquet")[0] + ".parquet" in names:
                path.unlink(missing_ok=True)

    @contextmanager
    def writing(self, part: int, schema: pa.Schema) -> Iterator[PartWriter]:
        """A writer of a part, which takes its place, on the disk, if the block succeeds."""
        # Scores and vectors are all different: a dictionary of them takes time and room.
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
    """Writes batches, a row group each.

    Args:
      stream: of the part.
    """

    def __init__(self, stream: pq.ParquetWriter) -> None:
        self._stream = stream
        self.facts = PartFacts()

    def write(self, batch: pa.Table, facts: PartFacts) -> None:
        """Appends what was made for some users or items; `facts` counts all but its rows."""
        self._stream.write_table(batch, row_group_size=max(1, len(batch)))
        self.facts = self.facts.plus(facts._replace(rows=len(batch)))


def phrase(names: Sequence[str]) -> str:
    """Names of settings as words in a sentence."""
    return " and ".join(name.replace("_", " ") for name in names)


def job_id(identity: Mapping[str, Any], position: int, again: int) -> str:
    """What a job is known by: 16 hex digits of a digest of what it makes, from what, and which time it is made."""
    key = json.dumps([identity, position, again], sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest()[:16]
