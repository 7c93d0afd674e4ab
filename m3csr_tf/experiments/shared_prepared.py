"""Lets the runs of one command share their prepared data."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from m3csr_tf.config import Config
from m3csr_tf.training import run_files
from m3csr_tf.util.locks import folder_lock


def share_prepared(first: Config, other: Config) -> None:
    """Links the prepared files of the first run into another one, so that both use the disk space of one.

    Files of a prepared folder are replaced and never changed, so a link is as good as a copy. `prepare` checks the
    folder as always, and builds it where it was not linked or does not fit.
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
    except OSError:  # The file system may have no links.
        shutil.rmtree(temporary, ignore_errors=True)
