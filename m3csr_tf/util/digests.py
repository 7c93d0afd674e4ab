"""Remembers the SHA-256 of large files, because every start asks for the digests of tens of gigabytes.

A file is read again only when it has changed. It counts as unchanged while its device, inode, size, and the times of
its last change of content and of state (mtime, ctime) are the same. No program can set ctime back, so a change is
noticed even where a copy keeps time and size (`cp -p`, `rsync -t`). The digest of a file that changed just before it
was read is not remembered, because a second change could have the same times. A change that no write makes, such as
that of a failing disk, is not noticed; without the file of digests, every file is read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.files import regular, sha256, write_json
from m3csr_tf.util.progress import ProgressCallback, after

logger = logging.getLogger(__name__)

_SETTLED = 2_000_000_000
"""Nanoseconds for which a file must have been unchanged before it was read: the coarsest times that file systems keep
(FAT).
"""


class Digests:
    """Digests of files, which are remembered in a file.

    Args:
      path: path of that file. It may be missing; a file that cannot be read counts as missing.
    """

    def __init__(self, path: Path) -> None:
        self._before: dict[str, list[int | str]] = {}
        self._now: dict[str, list[int | str]] = {}
        with suppress(OSError, ValueError):
            stored = parse_json(regular(path).read_bytes())
            self._before = stored if isinstance(stored, dict) else {}

    def sha256(self, path: Path, on_progress: ProgressCallback | None = None) -> str:
        """Returns the SHA-256 of a file, in hex.

        Args:
          path: the path of the file.
          on_progress: progress callback, which gets the number of bytes that are read and of all bytes, if the file is
            read.

        Raises:
          OSError: the file cannot be read.
        """
        # This comes before reading: a file that changes while it is read then has another time than this.
        state = path.stat()
        name = f"{state.st_dev}:{state.st_ino}"
        signs: list[int | str] = [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
        known = self._now.get(name) or self._before.get(name)
        if isinstance(known, list) and known[:-1] == signs:
            self._now[name] = known
            return str(known[-1])
        read = time.time_ns()
        digest = sha256(path, on_progress)
        if max(state.st_mtime_ns, state.st_ctime_ns) + _SETTLED < read:
            self._now[name] = [*signs, digest]
        return digest

    def of_all(self, paths: Sequence[Path], on_progress: ProgressCallback) -> dict[Path, str]:
        """Returns path -> SHA-256 in hex of several files.

        Args:
          paths: the paths of the files.
          on_progress: progress callback, which gets the number of bytes that are read, or need not be, and of all.

        Raises:
          OSError: a file cannot be read.
        """
        sizes = [path.stat().st_size for path in paths]
        found: dict[Path, str] = {}
        before = 0
        for path, size in zip(paths, sizes, strict=True):
            found[path] = self.sha256(path, after(on_progress, before, sum(sizes)))
            before += size
            on_progress(before, sum(sizes))
        return found

    def matches(self, path: Path, digest: str) -> bool:
        """Returns whether a file has this SHA-256.

        Before it returns False it reads the file, because the remembered digest may be wrong.

        Raises:
          OSError: the file cannot be read.
        """
        return self.sha256(path) == digest or sha256(path) == digest

    def save(self, path: Path, others: bool = False) -> None:
        """Writes the digests of the files that were asked about; with `others`, those of other files are kept."""
        kept = self._before | self._now if others else self._now
        if kept != self._before or not path.exists():
            write_json(path, kept)
