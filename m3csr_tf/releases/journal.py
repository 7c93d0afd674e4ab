"""The journal of a version: the items added, changed and removed since its publication, in numbered segments.

A segment is a file `saved_models/<name>/journal/<version>/<number>-<digest>.parquet`, which appears complete or not at
all. Numbers run from 1 without a gap. The digest is the SHA-256 of the file's bytes, so that a truncated or edited
segment is detected. A reader replays the segments that it has not seen. Segments hold item vectors, so replaying needs
no tower.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from m3csr_tf import columns
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.errors import ReleaseError
from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.files import regular, replacing, write_json
from m3csr_tf.util.quoting import quoted
from m3csr_tf.util.refusals import reason
from m3csr_tf.util.stored import reading, stored_json

logger = logging.getLogger(__name__)

FOLDER = "journal"
HEAD = "head.json"
_NAME = re.compile(r"(\d{8})-([0-9a-f]{16})\.parquet")
_META = b"m3csr_tf"
_PUT_BACK = "put it back, or roll back to another version (pipelines/release.py rollback)"


@dataclass(frozen=True)
class Segment:
    """Items that were added or changed, and items that were removed.

    Attributes:
      items: the added and changed items: ids, view counts, publish times (NaN: as it was known) and raw content.
      vectors: their item vectors, float32 [items, D].
      removed: ids of the removed items, none of which is among `items`.
      has_content: bool [items], False where the content stays as it was known, and `items` holds NaN instead.
      refreshed: bool [items], False for an item that comes from the catalogue of another version and not by refresh.
      values: kept column -> object array of str [items], None where an item has no value, for every column that the
        release keeps.
    """

    items: Catalogue
    vectors: np.ndarray
    removed: list[str]
    has_content: np.ndarray
    refreshed: np.ndarray
    values: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        """Returns the number of items that were added, changed or removed."""
        return len(self.vectors) + len(self.removed)

    def divided(self, most: int) -> Iterator[Segment]:
        """Yields the same changes in order, as segments of at most `most` items each."""
        for start in range(0, len(self.vectors), most):
            yield self._some(np.arange(start, min(start + most, len(self.vectors))), [])
        for start in range(0, len(self.removed), most):
            yield self._some(np.arange(0), self.removed[start : start + most])

    def _some(self, places: np.ndarray, removed: list[str]) -> Segment:
        return Segment(
            self.items.at(places),
            self.vectors[places],
            removed,
            self.has_content[places],
            self.refreshed[places],
            {name: values[places] for name, values in self.values.items()},
        )


class Journal:
    """The journal of one version, to which one process at a time may append (`releases.versions.switching`).

    Args:
      folder: `saved_models/<name>/journal/<version>`.
      fingerprint: the fingerprint of the version; a segment of another version is refused.
      modalities: modality -> width of its raw vectors.
    """

    def __init__(self, folder: Path, fingerprint: str, modalities: Mapping[str, int]) -> None:
        self.folder = folder
        self._fingerprint = fingerprint
        self._modalities = dict(modalities)

    def is_there(self) -> bool:
        """Returns whether the journal has a folder; it has none once its version has been pruned.

        Raises:
          ReleaseError: the system does not tell.
        """
        with reading(self.folder, _PUT_BACK, ReleaseError):
            return self.folder.exists()

    def begin(self) -> None:
        """Creates an empty journal, without which a version is incomplete."""
        if not (self.folder / HEAD).exists():
            write_json(self.folder / HEAD, {"segments": 0})

    def length(self) -> int:
        """Returns the number of segments.

        Raises:
          ReleaseError: a segment is missing.
        """
        return len(self._segments())

    def append(self, segment: Segment) -> int:
        """Writes a segment, waits until it is safely on disk, and returns its number.

        Raises:
          ReleaseError: an earlier segment is missing, or the folder cannot be written.
        """
        number = self.length() + 1
        table = self._table(segment, number)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        content = sink.getvalue()
        digest = hashlib.sha256(content).hexdigest()[:16]
        try:
            with replacing(self.folder / f"{number:08d}-{digest}.parquet") as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            raise ReleaseError(f"{self.folder}: the journal cannot be written: {reason(error)}") from None
        try:
            write_json(self.folder / HEAD, {"segments": number})
        except OSError as error:
            # The segment is written and therefore counts; the next one will bring the head up to date.
            logger.warning("%s: cannot be written (%s)", self.folder / HEAD, error.strerror or error)
        return number

    def read(self, after: int = 0, until: int | None = None) -> Iterator[tuple[int, Segment]]:
        """Yields numbered segments, from `after` + 1 to `until`, or to the last one if `until` is None.

        Raises:
          ReleaseError: a segment is missing, was changed, or belongs to another release.
        """
        if after and until is None and self._head() == after:
            return  # The head alone shows that nothing is new, without listing the folder.
        paths = self._segments()
        if len(paths) < after:
            raise ReleaseError(
                f"{self.folder}: holds {len(paths)} segments, and {after} were read before, so it was replaced or cut; "
                f"{_PUT_BACK}"
            )
        if until is not None and until > len(paths):
            raise ReleaseError(f"{self.folder}: holds {len(paths)} segments, expected {until}; the rest is missing")
        for number in range(after + 1, (len(paths) if until is None else until) + 1):
            yield number, self._parse(paths[number - 1], number)

    def salvage(self) -> Iterator[Segment]:
        """Yields, in order, the segments of a possibly broken journal that can still be read, and logs the others."""
        paths = sorted(path for path in self.folder.glob("*") if _NAME.fullmatch(path.name))
        try:
            self._segments()
        except ReleaseError as error:
            logger.warning("%s", error)
        for path in paths:
            try:
                yield self._parse(path, int(path.name[:8]))
            except ReleaseError as error:
                logger.warning("what it held is lost: %s", error)

    def _segments(self) -> list[Path]:
        head = self._head()
        with reading(self.folder, _PUT_BACK, ReleaseError):
            paths = sorted(path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))
        numbers = [int(path.name[:8]) for path in paths]
        expected = max(head, numbers[-1] if numbers else 0)
        if numbers != list(range(1, expected + 1)):
            missing = next(number for number in range(1, expected + 1) if numbers.count(number) != 1)
            raise ReleaseError(f"{self.folder}: segment {missing} of {expected} is missing or there twice; {_PUT_BACK}")
        return paths

    def _head(self) -> int:
        path = self.folder / HEAD
        with reading(path, _PUT_BACK, ReleaseError):
            is_there = path.exists()  # It raises if the folder must not be read.
        if not is_there:
            raise ReleaseError(f"{path}: the journal is missing; {_PUT_BACK}")
        head = stored_json(path, _PUT_BACK, ReleaseError).get("segments")
        if type(head) is not int or head < 0:
            raise ReleaseError(f"{path}: it is broken (segments is {quoted(head)}); {_PUT_BACK}")
        return head

    def _table(self, segment: Segment, number: int) -> pa.Table:
        count, gone = len(segment.vectors), len(segment.removed)
        frame = segment.items.frame
        published = frame.get(columns.PUBLISH_TIME, pd.Series(np.nan, frame.index)).astype(np.float64)
        arrays = {
            columns.ITEM_ID: pa.array([*frame[columns.ITEM_ID], *segment.removed], pa.string()),
            columns.REMOVED: pa.array([False] * count + [True] * gone),
            columns.VIEW_COUNT: pa.array([*frame[columns.VIEW_COUNT].tolist(), *[None] * gone], pa.int64()),
            columns.PUBLISH_TIME: pa.array([*published.tolist(), *[np.nan] * gone], pa.float64()),
            columns.REFRESHED: pa.array([*segment.refreshed.tolist(), *[False] * gone]),
            columns.HAS_CONTENT: pa.array([*segment.has_content.tolist(), *[False] * gone]),
            columns.ITEM_VECTOR: _lists(segment.vectors, gone, np.ones(count, bool)),
            **{name: _lists(segment.items.content[name], gone, segment.has_content) for name in self._modalities},
            **{
                columns.kept_column(name): pa.array([*values, *[None] * gone], pa.string())
                for name, values in segment.values.items()
            },
        }
        meta = json.dumps({"fingerprint": self._fingerprint, "number": number})
        return pa.table(arrays).replace_schema_metadata({_META: meta.encode()})

    def _parse(self, path: Path, number: int) -> Segment:
        with reading(path, _PUT_BACK, ReleaseError):
            content = regular(path).read_bytes()
            if hashlib.sha256(content).hexdigest()[:16] != path.stem[9:]:
                raise ReleaseError(f"{path}: was changed after it was written; {_PUT_BACK}")
            table = pq.read_table(pa.BufferReader(content))
            meta = parse_json(table.schema.metadata[_META])
            if meta != {"fingerprint": self._fingerprint, "number": number}:
                raise ReleaseError(
                    f"{path}: is segment {meta['number']} of release {meta['fingerprint'][:12]}, expected segment "
                    f"{number} of {self._fingerprint[:12]}; put the version's own journal back"
                )
            return self._segment(table)

    def _segment(self, table: pa.Table) -> Segment:
        removed = table[columns.REMOVED].to_numpy()
        came = table.filter(pa.array(~removed))
        frame = pd.DataFrame(
            {
                columns.ITEM_ID: came[columns.ITEM_ID].to_numpy(),
                columns.VIEW_COUNT: came[columns.VIEW_COUNT].to_numpy().astype(np.int64),
            }
        )
        if columns.PUBLISH_TIME in came.column_names:  # Journals of earlier versions lack it.
            frame[columns.PUBLISH_TIME] = came[columns.PUBLISH_TIME].to_numpy()
        items = Catalogue(frame, {name: _matrix(came[name]) for name in self._modalities})
        gone = table.filter(pa.array(removed))[columns.ITEM_ID].to_pylist()
        has_content, refreshed = (came[name].to_numpy() for name in (columns.HAS_CONTENT, columns.REFRESHED))
        values = {
            name.removeprefix(columns.KEPT_PREFIX): came[name].to_numpy()
            for name in came.column_names
            if name.startswith(columns.KEPT_PREFIX)
        }
        return Segment(items, _matrix(came[columns.ITEM_VECTOR]), gone, has_content, refreshed, values)


def _lists(vectors: np.ndarray, blanks: int, there: np.ndarray) -> pa.Array:
    """Converts float32 [n, width] to an array of lists, null where `there` is False, with `blanks` nulls appended."""
    width = vectors.shape[1]
    padded = np.concatenate([vectors, np.zeros([blanks, width], np.float32)]).astype(np.float32)
    missing = np.concatenate([~there, np.ones(blanks, bool)])
    return pa.FixedSizeListArray.from_arrays(pa.array(padded.ravel()), width, mask=pa.array(missing))


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """Converts lists to vectors float32 [n, width], NaN where a list is null."""
    width = column.type.list_size
    lists = column.combine_chunks()
    arrays = lists.chunks if isinstance(lists, pa.ChunkedArray) else [lists]
    matrix = np.full([len(column), width], np.nan, np.float32)
    there = pc.is_valid(column).to_numpy()
    pieces = [array.flatten().to_numpy(zero_copy_only=False).reshape(-1, width) for array in arrays]
    matrix[there] = np.concatenate([np.empty([0, width], np.float32), *pieces])
    return matrix
