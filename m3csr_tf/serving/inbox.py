"""A folder that fresh videos arrive in: each file is taken in and put away, one after the other, in the order of names.

A file is put away after the journal holds it. If the process dies in between, the next one takes the file in again,
which changes nothing: what is given replaces what was known.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from m3csr_tf.data.updates import read_updates
from m3csr_tf.errors import InputError, M3CSRError
from m3csr_tf.files import write_text
from m3csr_tf.serving.refresh import Refreshed, check, refresh
from m3csr_tf.serving.release import Release

logger = logging.getLogger(__name__)

DONE = "done"
REJECTED = "rejected"
_KINDS = {".parquet", ".csv"}
_AT_ONCE = 20_000
"""Items of one segment of the journal; bounds how long others wait for it."""


def take_in(
    release: Release, path: Path, show: Callable[[int, int], object] = lambda done, total: None
) -> list[Refreshed]:
    """Takes in the items of one file (`data.updates`), some thousands at a time.

    Args:
      release: the current version.
      path: the file.
      show: is told how many items are done, of how many, after each step.

    Raises:
      InputError: the file is at fault; nothing is taken in when it is malformed, or when an item in it is.
      ReleaseError: as in `refresh`.
    """
    updates = read_updates(path, columns_of(release), release.modalities)
    size = len(updates.frame)
    if not size and not updates.removed:
        raise InputError(f"{path}: no items; expected a row for each item that came, changed or went")
    check(release, updates.frame, updates.content, updates.removed, str(path))
    done = []
    for start in range(0, max(1, size), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        frame = updates.frame.iloc[some].reset_index(drop=True)
        content = {name: vectors[some] for name, vectors in updates.content.items()}
        gone = updates.removed if start == 0 else []
        done.append(refresh(release, frame, content, gone, str(path)))
        show(min(size, start + _AT_ONCE), size)
    return done


def waiting(inbox: Path) -> list[Path]:
    """Files that have arrived, by name; those whose name starts with _ or . are still being written.

    Raises:
      InputError: there is no such folder.
    """
    if not inbox.is_dir():
        raise InputError(f"{inbox}: no such folder; create it, and move files of items into it")
    there = (path for path in inbox.iterdir() if path.suffix in _KINDS and path.name[0] not in "_.")
    return sorted(path for path in there if path.is_file())


def take_in_and_put_away(release: Release, path: Path) -> list[Refreshed]:
    """Takes in a file of an inbox and moves it to done/, or, when it is at fault, to rejected/ with the reason beside.

    A file that meets an error nobody thought of is rejected too, so that it does not stop those behind it.

    Returns:
      What was done; nothing for a file that was rejected.

    Raises:
      ReleaseError: as in `refresh`; the file stays.
      OSError: a file cannot be read or moved; it stays.
    """
    release.catch_up()  # What fails here is no fault of the file.
    try:
        done = take_in(release, path)
    except InputError as error:
        _reject(path, str(error))
        return []
    except (M3CSRError, OSError):
        raise
    except Exception as error:
        _reject(path, f"{type(error).__name__}: {error}", unexpected=True)
        return []
    _put_away(path, DONE)
    return done


def columns_of(release: Release) -> dict[str, str]:
    """Modality -> the column that holds its vectors, as in the catalogue that was trained on.

    A modality whose vectors came in a .npy file, or from the synthetic world, has a column of its own name.
    """
    places = release.manifest["config"]["data"]["modalities"]
    named = {name: places.get(name, name) for name in release.modalities}
    return {name: name if place.lower().endswith(".npy") else place for name, place in named.items()}


def _reject(path: Path, reason: str, unexpected: bool = False) -> None:
    there = _put_away(path, REJECTED)
    write_text(there.with_name(f"{there.name}.error"), f"{reason}\n")
    logger.warning("%s: rejected (%s)", path, reason, exc_info=unexpected)


def _put_away(path: Path, folder: str) -> Path:
    """Moves a file; one of a name that is taken gets a number."""
    there = path.parent / folder / path.name
    there.parent.mkdir(exist_ok=True)
    number = 1
    while there.exists():
        number += 1
        there = there.with_name(f"{path.stem}.{number}{path.suffix}")
    return path.replace(there)
