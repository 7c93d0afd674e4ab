"""Data frames as the files that the verbs read, so that both go through the same checks."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m3csr_tf import columns
from m3csr_tf.errors import InputError, M3CSRError
from m3csr_tf.training import run_files
from m3csr_tf.util.files import replacing
from m3csr_tf.util.quoting import quoted
from m3csr_tf.verbs.console import console
from m3csr_tf.verbs.system_errors import system_errors


class Workspace:
    """A folder for what a verb reads and writes, removed in the end; errors speak of frames, not of its files."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="m3csr_tf-"))
        self._called: dict[str, str] = {}

    def table(self, frame: pd.DataFrame, what: str) -> Path:
        """A frame as a parquet file.

        Args:
          frame: what was given.
          what: it is, in messages, e.g. "users".

        Raises:
          InputError: it is no frame, or cannot be stored as a table.
        """
        path = self.folder / f"{what.replace(' ', '_')}.parquet"
        self._called[str(path)] = what
        write_table(path, frame, what)
        return path

    def ids(self, ids: Collection[Any], what: str) -> Path:
        """Item ids as a parquet file.

        Raises:
          InputError: they are no collection of ids, or there is none.
        """
        return self.table(ids_frame(ids, columns.ITEM_ID, what, "a list of item ids"), what)

    def renamed(self, message: str) -> str:
        """A message with frames in the place of their files."""
        for path, what in self._called.items():
            message = message.replace(path, what)
        return message


@contextmanager
def workspace() -> Iterator[Workspace]:
    """A workspace for the block.

    Raises:
      M3CSRError: as the block, with frames called by their names.
    """
    place = Workspace()
    try:
        yield place
    except M3CSRError as error:
        error.args = (place.renamed(str(error)),)
        raise
    finally:
        shutil.rmtree(place.folder, ignore_errors=True)


@contextmanager
def as_verb(verbose: bool) -> Iterator[None]:
    """Runs what a verb runs: what the system refuses is an error of this package, and tables are printed if asked for.

    Raises:
      ResourceError: as `system_errors`.
    """
    before, of_tensorflow = console.quiet, logging.getLogger("tensorflow")
    level = of_tensorflow.level
    console.quiet = not verbose
    of_tensorflow.setLevel(max(level, logging.WARNING))  # In a notebook it says of every file that it was written.
    try:
        with system_errors():
            yield
    finally:
        console.quiet = before
        of_tensorflow.setLevel(level)


def write_table(path: Path, frame: pd.DataFrame, what: str) -> None:
    """Writes a frame as parquet, whole or not at all; a named index becomes columns, another one is dropped.

    Raises:
      InputError: it is no frame, or cannot be stored as a table.
    """
    table = as_table(frame, what)
    with replacing(path) as beside:
        pq.write_table(table, beside)


@contextmanager
def inputs_of(run: Path, folder: Path, frames: Mapping[str, pd.DataFrame]) -> Iterator[None]:
    """Frames as the input files of a run for the block, and after it.

    Where the block fails before the run is prepared from them, the files are again what they were.

    Args:
      run: the run's folder.
      folder: of its input files.
      frames: name of a file, without its ending, and of the frame in messages -> the frame.

    Raises:
      InputError: as `write_table`.
    """
    manifest = run / run_files.PREPARED_FOLDER / columns.MANIFEST
    prepared = manifest.read_bytes() if manifest.exists() else None
    paths = {name: folder / f"{name}.parquet" for name in frames}
    earlier = {path: path.with_name(f".{path.name}.earlier") for path in paths.values() if path.exists()}
    for path, kept in earlier.items():
        path.replace(kept)
    try:
        for name, path in paths.items():
            write_table(path, frames[name], name)
        yield
    except BaseException:
        if prepared == (manifest.read_bytes() if manifest.exists() else None):
            for path in paths.values():
                if path in earlier:
                    earlier[path].replace(path)
                else:
                    path.unlink(missing_ok=True)
            with suppress(OSError):  # Something else lies there.
                folder.rmdir()
        raise
    finally:
        for kept in earlier.values():
            kept.unlink(missing_ok=True)


def as_table(frame: pd.DataFrame, what: str) -> pa.Table:
    """A frame as Arrow's table.

    Raises:
      InputError: it is no frame, two of its columns have one name, a name is no text, or a column holds values of
        several kinds.
    """
    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"{what}: got {quoted(frame)}, of type {type(frame).__name__}; expected a pandas DataFrame")
    plain = frame.reset_index() if any(name is not None for name in frame.index.names) else frame.copy(deep=False)
    odd = [name for name in plain.columns if not isinstance(name, str)]
    if odd:
        raise InputError(f"{what}: a column is called {quoted(odd[0])}; expected names that are text")
    twice = plain.columns[plain.columns.duplicated()]
    if len(twice):
        raise InputError(f"{what}: column {quoted(twice[0])} is there twice; keep one")
    arrays = {name: _array(plain[name], f"{what}: column {quoted(name)}") for name in plain.columns}
    return pa.table(arrays)


def _array(column: pd.Series, what: str) -> pa.Array:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    try:
        return pa.Array.from_pandas(column)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{what} cannot be stored ({reason}); expected values of one kind, ids as text, vectors and lists as lists"
        ) from None


def ids_frame(ids: Any, column: str, what: str, expected: str) -> pd.DataFrame:
    """Ids as a frame of one column.

    Args:
      ids: what was given.
      column: of the frame.
      what: they are, in messages.
      expected: in their place, in words.

    Raises:
      InputError: they are no collection of ids; of a frame or a mapping, nobody knows what of it is meant.
    """
    if isinstance(ids, str | bytes | Mapping | pd.DataFrame) or not isinstance(ids, Collection | np.ndarray):
        raise InputError(f"{what}: got {_described(ids)}; expected {expected}")
    return pd.DataFrame({column: pd.Series(list(ids), dtype=object)})


def as_path(place: Any, what: str) -> Path:
    """What was given for a path, as one.

    Raises:
      InputError: it is neither a text nor a path.
    """
    if not isinstance(place, str | Path):
        raise InputError(f"{what}: got {_described(place)}; expected a path, as a text or a pathlib.Path")
    return Path(place)


def _described(value: Any) -> str:
    if isinstance(value, pd.DataFrame):
        return f"a frame with the columns {', '.join(map(str, value.columns))}"
    return quoted(value)


def without_numpy(settings: Any) -> Any:
    """Returns a mapping with numbers of NumPy, such as counts of a frame are, as Python's; anything else as it is."""
    if not isinstance(settings, Mapping):
        return settings
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in settings.items()}
