"""Writes data frames as the files that the verbs read, so that frames and files go through the same checks."""

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
    """A temporary folder for the files that a verb reads and writes.

    It remembers which frame is in which file, so that error messages can name the frame (`renamed`).
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="m3csr_tf-"))
        self._called: dict[str, str] = {}

    def table(self, frame: pd.DataFrame, what: str) -> Path:
        """Writes a frame as a parquet file, and returns the path of the file.

        Args:
          frame: the frame; anything else is refused.
          what: name of the frame in messages, e.g. "users", and of the file.

        Raises:
          InputError: `frame` is not a frame, or it cannot be stored as a table.
        """
        path = self.folder / f"{what.replace(' ', '_')}.parquet"
        self._called[str(path)] = what
        write_table(path, frame, what)
        return path

    def ids(self, ids: Collection[Any], what: str) -> Path:
        """Writes item ids as a parquet file, and returns the path of the file.

        Raises:
          InputError: `ids` is not a collection of ids, or the ids cannot be stored as a column.
        """
        return self.table(ids_frame(ids, columns.ITEM_ID, what, "a list of item ids"), what)

    def renamed(self, message: str) -> str:
        """Returns a message in which the paths of files are replaced by the names of their frames."""
        for path, what in self._called.items():
            message = message.replace(path, what)
        return message


@contextmanager
def workspace() -> Iterator[Workspace]:
    """Yields a workspace, and removes its folder after the block.

    Raises:
      M3CSRError: the error of the block, whose message names frames instead of files.
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
    """Runs the code of verbs in the block, with errors of the operating system converted to errors of this package.

    Args:
      verbose: print what the verbs print.

    Raises:
      ResourceError: for the same reasons as in `system_errors`.
    """
    before, of_tensorflow = console.quiet, logging.getLogger("tensorflow")
    level = of_tensorflow.level
    console.quiet = not verbose
    of_tensorflow.setLevel(max(level, logging.WARNING))  # Its messages about every file written would fill a notebook.
    try:
        with system_errors():
            yield
    finally:
        console.quiet = before
        of_tensorflow.setLevel(level)


def write_table(path: Path, frame: pd.DataFrame, what: str) -> None:
    """Writes a frame as a parquet file, completely or not at all.

    A named index becomes columns; an index without a name is dropped.

    Raises:
      InputError: for the same reasons as in `as_table`.
    """
    table = as_table(frame, what)
    with replacing(path) as beside:
        pq.write_table(table, beside)


@contextmanager
def inputs_of(run: Path, folder: Path, frames: Mapping[str, pd.DataFrame]) -> Iterator[None]:
    """Writes frames as the input files of a run, where they stay after the block.

    If the block fails before the run has been prepared from these files, the earlier files are restored.

    Args:
      run: the run's folder.
      folder: the folder of the run's input files.
      frames: name of a file without its extension, which is also the name of the frame in messages -> the frame.

    Raises:
      InputError: for the same reasons as in `as_table`.
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
            with suppress(OSError):  # The folder stays if it holds other files.
                folder.rmdir()
        raise
    finally:
        for kept in earlier.values():
            kept.unlink(missing_ok=True)


def as_table(frame: pd.DataFrame, what: str) -> pa.Table:
    """Converts a frame to an Arrow table.

    A named index becomes columns; an index without a name is dropped.

    Args:
      frame: the frame; anything else is refused.
      what: name of the frame in messages.

    Raises:
      InputError: `frame` is not a frame, two of its columns have the same name, the name of a column is not a text, or
        a column holds values of several kinds.
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
    """Converts a column to an Arrow array; categories become their values."""
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
    """Returns ids as a frame of one column.

    Args:
      ids: a collection of ids; anything else is refused.
      column: name of the column.
      what: name of the ids in messages.
      expected: what the message says was expected.

    Raises:
      InputError: `ids` is not a collection of ids. A text is one id, and a frame or a mapping does not say which part
        of it holds the ids.
    """
    if isinstance(ids, str | bytes | Mapping | pd.DataFrame) or not isinstance(ids, Collection | np.ndarray):
        raise InputError(f"{what}: got {_described(ids)}; expected {expected}")
    return pd.DataFrame({column: pd.Series(list(ids), dtype=object)})


def as_path(place: Any, what: str) -> Path:
    """Returns a text or a path as a path; `what` names it in messages.

    Raises:
      InputError: `place` is neither a text nor a path.
    """
    if not isinstance(place, str | Path):
        raise InputError(f"{what}: got {_described(place)}; expected a path, as a text or a pathlib.Path")
    return Path(place)


def _described(value: Any) -> str:
    if isinstance(value, pd.DataFrame):
        return f"a frame with the columns {', '.join(map(str, value.columns))}"
    return quoted(value)


def without_numpy(settings: Any) -> Any:
    """Returns a mapping in which NumPy's numbers, e.g. counts from a frame, are Python's; anything else as it is."""
    if not isinstance(settings, Mapping):
        return settings
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in settings.items()}
