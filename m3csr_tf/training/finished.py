"""Writes and reads finished.json: a run's results, with digests that reveal other settings, data or weights."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, NonNegativeInt

from m3csr_tf import columns
from m3csr_tf.errors import RunError
from m3csr_tf.util.digests import Digests
from m3csr_tf.util.files import regular, sha256, write_json
from m3csr_tf.util.stored import checked, reading, stored_json

FINISHED_FILE = "finished.json"
SELECTED_BY = "selected_by"
"""The field that names the validation figure by which the weights were chosen; without it, that is Recall@20."""
KNOWN_CLICKS = "known_clicks"
"""The field of the held-back clicks, split -> number, that the run which this one started from was trained on."""
_WRITTEN_AGAIN = "delete it and run pipelines/train.py, which writes it again"


class _Finished(BaseModel):
    """The fields that finished.json of every run has; there are more."""

    best_step: NonNegativeInt
    steps: NonNegativeInt
    recall: float = Field(alias="recall@20")
    training_seconds: float
    prepared: str
    fingerprint: str
    weights: dict[str, str] = Field(min_length=1)


def selection(finished: dict[str, Any]) -> tuple[str, float]:
    """The validation figure by which a run's weights were chosen, as it stands in text, and its value there."""
    by = finished.get(SELECTED_BY, "recall@20")
    return by.replace("_", " "), float(finished[by])


def write(folder: Path, facts: dict[str, Any], fingerprint: str, weights: Path) -> None:
    """Marks a run as finished.

    Args:
      folder: the run's folder.
      facts: the results of the run, and the digest of its prepared data.
      fingerprint: the fingerprint of the settings with which it was trained (`Config.fingerprint`).
      weights: the prefix of the checkpoint of its best step.
    """
    files = sorted(weights.parent.glob(f"{weights.name}.*"))
    digests = {path.name: sha256(path) for path in files}
    write_json(folder / FINISHED_FILE, facts | {"fingerprint": fingerprint, "weights": digests})


def read(folder: Path) -> dict[str, Any]:
    """Returns the contents of a run's finished.json.

    Raises:
      RunError: training has not finished, or the file is broken.
    """
    path = folder / FINISHED_FILE
    if not path.exists():
        raise RunError(f"{folder}: training has not finished; run pipelines/train.py, it goes on where it stopped")
    tree = stored_json(path, _WRITTEN_AGAIN, RunError)
    with reading(path, _WRITTEN_AGAIN, RunError):
        checked(_Finished, tree)
    return tree


def fingerprint(folder: Path) -> str | None:
    """Returns the fingerprint of the settings of a finished run; None if none has finished or the file is broken."""
    try:
        return str(read(folder)["fingerprint"])
    except RunError:
        return None


def check_weights(finished: dict[str, Any], weights: Path, remedy: str) -> None:
    """Refuses weights that differ from those with which the run ended.

    The digests of the files that were read are remembered beside the weights.

    Args:
      finished: the contents of finished.json.
      weights: the prefix of the checkpoint of the weights.
      remedy: see `reading`.

    Raises:
      RunError: a file is missing, cannot be read, or was changed.
    """
    remembered = weights.parent / columns.DIGESTS
    digests = Digests(remembered)
    for name, digest in finished["weights"].items():
        path = weights.parent / name
        with reading(path, remedy, RunError):
            if path.parent != weights.parent or not digests.matches(regular(path), digest):
                raise ValueError("these are not the weights that the run ended with")
    with suppress(OSError):  # A run that is read-only can still be used.
        digests.save(remembered)
