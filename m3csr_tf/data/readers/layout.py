"""What every layout gives: the log, the catalogue, and the files that both are read from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import pandas as pd

from m3csr_tf.config import DataConfig
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.data.parts.kinds import ENDINGS, is_table
from m3csr_tf.data.parts.lines import COMPRESSIONS
from m3csr_tf.data.readers.log import TableLog
from m3csr_tf.data.tables import part_files
from m3csr_tf.errors import InputError


class Layout(ABC):
    """The files of `data.path` in a layout.

    Args:
      config: the section.

    Attributes:
      in_blocks: whether the log is a table, which can be read in blocks.
    """

    in_blocks: ClassVar[bool] = False

    def __init__(self, config: DataConfig) -> None:
        self.config = config

    @abstractmethod
    def files(self) -> list[Path]:
        """Every file that is read.

        Raises:
          InputError: one is missing, or its content cannot be that of the others.
        """

    @abstractmethod
    def catalogue(self, into: Path) -> Catalogue:
        """The catalogue, its content in files of `into`.

        Raises:
          InputError: it is at fault.
        """

    @abstractmethod
    def log(self) -> TableLog | tuple[pd.DataFrame, dict[str, int]]:
        """The log as a table, or as a frame with counts of what was left out.

        Raises:
          InputError: it is at fault.
        """

    @cached_property
    def folder(self) -> Path:
        """Where the files are.

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
        """A file of the folder.

        Raises:
          InputError: it is missing.
        """
        path = self.folder / name
        if not path.is_file():
            raise InputError(f"{path}: no such file; check data.path, data.format and data.modalities")
        return path


def find_table(folder: Path, name: str) -> Path | None:
    """The table called `name`, with the ending of any encoding, or a folder of that name.

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
    """As `find_table`.

    Raises:
      InputError: there is none, or there are two.
    """
    found = find_table(folder, name)
    if found is None:
        raise InputError(
            f"{folder}: no table {name} is there; expected {name}.parquet, or {name} with another of the endings "
            f"{', '.join(ENDINGS[1:])}, of text perhaps with {COMPRESSIONS[0]} or {COMPRESSIONS[1]} behind it"
        )
    return found


def files_of(table: Path) -> list[Path]:
    """The files of a table."""
    return [table] if table.is_file() else part_files(table)
