"""The manifest that ties the parts of a release together, and the check that the parts are the ones that it names.

Every part carries a copy of the manifest of its release. So a part that belongs elsewhere is detected at once, and a
version that is no longer current still knows what belongs to it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from m3csr_tf import columns
from m3csr_tf.errors import ReleaseError
from m3csr_tf.releases.manifest_shape import Manifest
from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.files import regular, sha256
from m3csr_tf.util.quoting import quoted
from m3csr_tf.util.stored import advice, checked, reading, what_is_wrong

FORMAT = 2
PARTS = (columns.ITEM_TOWER, columns.INDEX, columns.USER_TOWER)
"""The parts of a version in the order in which they are published."""
COPY = "release.json"
_ADVICE = "put it back, roll back, or release again"
_NO_CURRENT = "put it back, name a version (pipelines/release.py rollback --version N), or release again"
"""Advice about the manifest itself; without it, the version to go back to must be named by its number."""


def part_folder(release: Path, part: str, version: int) -> Path:
    """Returns the folder of a part of a version."""
    return release / part / str(version)


def copy_path(part_folder: Path, part: str) -> Path:
    """Returns the path of a part's copy of the manifest; TF Serving leaves `assets.extra` to other programs."""
    return part_folder / COPY if part == columns.INDEX else part_folder / "assets.extra" / COPY


def checksums(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file below `folder`, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def with_fingerprint(manifest: dict[str, Any]) -> dict[str, Any]:
    """Returns the manifest with its fingerprint, a SHA-256 over everything else in it."""
    fields = {key: value for key, value in manifest.items() if key != "fingerprint"}
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return {**fields, "fingerprint": hashlib.sha256(canonical.encode()).hexdigest()}


def read(path: Path) -> dict[str, Any]:
    """Reads and checks a manifest.

    Raises:
      ReleaseError: the manifest is missing, broken, of another format or shape, names files outside the parts, or was
        changed after it was written.
    """
    again = _ADVICE if path.name == COPY else _NO_CURRENT
    try:
        manifest = parse_json(regular(path).read_bytes())
    except FileNotFoundError:
        if path.name == COPY:
            raise ReleaseError(f"{path}: it is missing; {again}") from None
        raise ReleaseError(f"{path}: missing, so there is no release here; run pipelines/release.py") from None
    except OSError as error:
        raise ReleaseError(f"{path}: {what_is_wrong(error)}; {advice(error, again)}") from None
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise ReleaseError(f"{path}: not a manifest (broken JSON); {again}")
    if manifest.get("format") != FORMAT:
        found = quoted(manifest.get("format"))
        raise ReleaseError(f"{path}: a manifest of format {found}, expected {FORMAT}; {again}")
    if with_fingerprint(manifest) != manifest:
        raise ReleaseError(f"{path}: was changed after the release (its fingerprint does not match); {again}")
    with reading(path, again, ReleaseError):
        checked(Manifest, manifest)
        if {*manifest["parts"]} != {*PARTS}:
            raise ValueError(f"its parts are {', '.join(manifest['parts'])}, expected {', '.join(PARTS)}")
    return manifest


def of_version(release: Path, version: int) -> dict[str, Any]:
    """Returns the manifest of any version, current or not, from the copy in its index.

    Raises:
      ReleaseError: there is no such version, or its copy is broken.
    """
    folder = part_folder(release, columns.INDEX, version)
    if not folder.is_dir():
        there = ", ".join(map(str, versions(release))) or "none"
        raise ReleaseError(f"{release}: there is no version {version}; there are: {there}")
    manifest = read(copy_path(folder, columns.INDEX))
    if manifest["version"] != version:
        raise ReleaseError(
            f"{folder}: holds version {manifest['version']} under another number; put it back under its own"
        )
    return manifest


def versions(release: Path) -> list[int]:
    """Returns the numbers of all versions of which any part is there, ascending."""
    found = {int(path.name) for part in PARTS for path in (release / part).glob("*") if path.name.isdecimal()}
    return sorted(found)


def is_complete(release: Path, version: int) -> bool:
    """Returns whether all parts of a version are there and carry the same manifest; their files are not checked."""
    try:
        manifest = of_version(release, version)
        return all(read(copy_path(part_folder(release, part, version), part)) == manifest for part in PARTS)
    except ReleaseError:
        return False


def verify(release: Path, manifest: dict[str, Any]) -> None:
    """Checks that every part is there, is complete, and belongs to this release.

    Raises:
      ReleaseError: a part or file is missing, changed, of another release, or not listed; the message names it.
    """
    for part in PARTS:
        folder = part_folder(release, part, manifest["version"])
        if not folder.is_dir():
            raise ReleaseError(f"{folder}: the {part} of version {manifest['version']} is missing; release again")
        own = read(copy_path(folder, part))
        if own != manifest:
            raise ReleaseError(
                f"{folder}: this {part} belongs to another release (fingerprint {own['fingerprint'][:12]}, "
                f"{columns.MANIFEST} says {manifest['fingerprint'][:12]}); release again, or put its own back"
            )
        listed = manifest["parts"][part]
        for name, expected in listed.items():
            path = folder / name
            if not path.is_file():
                raise ReleaseError(f"{path}: missing from the {part}; {_ADVICE}")
            with reading(path, _ADVICE, ReleaseError):
                if sha256(path) != expected:
                    raise ReleaseError(f"{path}: this file of the {part} was changed after the release; {_ADVICE}")
        own_copy = copy_path(folder, part)
        for path in sorted(folder.rglob("*")):
            is_folder = path.is_dir() and not path.is_symlink()
            if not is_folder and path != own_copy and path.relative_to(folder).as_posix() not in listed:
                raise ReleaseError(
                    f"{path}: the manifest does not list this file of the {part}, so it is none of the release's; move "
                    "it away"
                )
