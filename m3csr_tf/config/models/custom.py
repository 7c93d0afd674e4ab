"""Section `model` of a user-defined model, which this package does not contain (docs/your_own_model.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from m3csr_tf.config.models.base import PairwiseSection
from m3csr_tf.util.files import sha256

CUSTOM = "custom"
"""The name of user-defined models among the kinds of settings."""
_PLACE = re.compile(r"(?P<module>[A-Za-z_][\w.]*|.+\.py):(?P<name>[A-Za-z_]\w*)")


class CustomConfig(PairwiseSection):
    """A class given by its place: `model.kind=package.module:Class` or `model.kind=folder/file.py:Class`.

    The class is a `models.contract.Recommender`. Its own settings are in `model.settings`. Other sections have the
    defaults of the package's rivals (`PAIRWISE_RECIPE`) unless they are given.
    """

    kind: str = Field(description="package.module:Class or file.py:Class")
    settings: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="what the class reads of its own, name: value"
    )
    code: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 of the file, found without being given, so that a run knows when its model was edited; of "
        "a module, nothing",
    )

    @model_validator(mode="before")
    @classmethod
    def _with_code(cls, tree: Any) -> Any:
        """Adds the digest of the file, if there is one, because the trained weights depend on it as on any setting."""
        kind = tree.get("kind") if isinstance(tree, Mapping) else None
        if not isinstance(kind, str) or tree.get("code") is not None or not is_place(kind):
            return tree
        return {**tree, "code": digest_of_code(kind)}

    @field_validator("kind")
    @classmethod
    def _is_place(cls, value: str) -> str:
        if not is_place(value):
            raise ValueError(f"model.kind: expected package.module:Class or file.py:Class, got {value!r}")
        return value

    @property
    def place(self) -> Mapping[str, str]:
        """The place of the class: "module", a dotted name or the path of a .py file, and "name", the class in it."""
        found = _PLACE.fullmatch(self.kind)
        assert found is not None
        return found.groupdict()


def is_place(kind: str) -> bool:
    """Returns whether a kind is the place of a user-defined class."""
    return _PLACE.fullmatch(kind) is not None


def digest_of_code(kind: str) -> str | None:
    """Returns the SHA-256 of the file that a kind names, in hex; None for a module, or an unreadable file."""
    path = kind.rpartition(":")[0]
    if not path.endswith(".py"):
        return None
    try:
        return sha256(Path(path))
    except (OSError, ValueError):  # The registry reports it when the model is asked for.
        return None
