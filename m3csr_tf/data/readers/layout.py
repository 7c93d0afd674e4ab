"""The base class of all layouts of raw input: each gives the log, the catalogue, and the list of the files read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import pandas as pd

from m3csr_tf.config import DataConfig
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.data.part_files import part_files
from m3csr_tf.data.parts.kinds import ENDINGS, is_table
from m3csr_tf.data.parts.lines import COMPRESSIONS
from m3csr_tf.data.readers.log import TableLog
from m3csr_tf.errors import InputError
from m3csr_tf.util.progress import ProgressCallback


class Layout(ABC):
    """The files below `data.path`, read by the rules of one layout.

    Args:
      config: the configuration section `data`.

    Attributes:
      in_blocks: whether the log is a table that can be read in blocks, as a log larger than memory must be.
    """

    in_blocks: ClassVar[bool] = False

    def __init__(self, config: DataConfig) -> None:
        self.config = config

    @abstractmethod
    def files(self) -> list[Path]:
        """Returns the paths of all files that the layout reads.

        Raises:
          InputError: a file is missing, or its header shows that it does not fit the others.
        """

    @abstractmethod
    def catalogue(self, into: Path) -> Catalogue:
        """Reads the catalogue and writes its content vectors into files of the folder `into`.

        Raises:
          InputError: the catalogue or its content is at fault.
        """

    @abstractmethod
    def log(self, on_progress: ProgressCallback | None = None) -> TableLog | tuple[pd.DataFrame, dict[str, int]]:
        """Returns the log as a table to be read, or as a frame with the number of rows left out, by reason.

        Args:
          on_progress: progress callback of the layouts that read a frame here, which gets the number of bytes that are
            read and of all bytes.

        Raises:
          InputError: the log is missing or malformed.
        """

    @cached_property
    def folder(self) -> Path:
        """The folder of the files, `data.path`.

        Raises:
          InputError: there is no such folder.
        """
        folder = Path(self.config.path or "")
        if not folder.is_dir():
            raise InputError(
                f"{folder}: no such folder; data.path must name the folder of the {self.config.format} files"
            )
        return folder

    def existing(self, name: str) -> Path:
        """Returns the path of a file of the folder.

        Raises:
          InputError: the file is missing.
        """
        path = self.folder / name
        if not path.is_file():
            raise InputError(f"{path}: no such file; check data.path, data.format and data.modalities")
        return path


def find_table(folder: Path, name: str) -> Path | None:
    """Finds the table called `name`: a file with any of the known endings, or a folder of that name; None if missing.

    Raises:
      InputError: there are two.
    """
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.name.partition(".")[0] == name and (is_table(path) or (path.is_dir() and path.name == name))
    ]
    if len(found) > 1:
        raise InputError(f"{folder}: both {found[0].name} and {found[1].name} are there; keep one")
    return found[0] if found else None


def require_table(folder: Path, name: str) -> Path:
    """Finds a table as `find_table` does, and requires that it is there.

    Raises:
      InputError: there is no such table, or there are two.
    """
    found = find_table(folder, name)
    if found is None:
        raise InputError(
            f"{folder}: no table {name} is there; expected {name}.parquet, or {name} with another of the endings "
            f"{', '.join(ENDINGS[1:])}, of text perhaps with {COMPRESSIONS[0]} or {COMPRESSIONS[1]} behind it"
        )
    return found


def files_of(table: Path) -> list[Path]:
    """Returns the files of a table: the file itself, or the part files of a folder."""
    return [table] if table.is_file() else part_files(table)
