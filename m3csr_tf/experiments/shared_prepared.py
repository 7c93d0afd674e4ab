"""Prepared data that runs of one command share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from m3csr_tf.config import Config
from m3csr_tf.training import run_files
from m3csr_tf.util.locks import folder_lock


def share_prepared(first: Config, other: Config) -> None:
    """Gives a run the prepared files of the first one as links, so that all runs of the data take the disc of one.

    Files of a prepared folder are replaced, never changed, so a link is as good as a copy. Whether the folder is the
    right one, `prepare` finds out as always, and builds it where it was not linked.
    """
    source, target = (config.run_folder / run_files.PREPARED_FOLDER for config in (first, other))
    with folder_lock(other.run_folder):
        if not target.exists() and source.exists():
            _link(source, target)


def _link(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.linking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        shutil.copytree(source, temporary, copy_function=os.link)
        temporary.rename(target)
    except OSError:  # A file system without links.
        shutil.rmtree(temporary, ignore_errors=True)
