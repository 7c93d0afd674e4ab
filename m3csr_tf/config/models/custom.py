"""Section `model` of a model of one's own, which this package does not hold (docs/your_own_model.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import Field, field_validator

from m3csr_tf.config.models.base import PairwiseSection

CUSTOM = "custom"
"""What the settings of a model of one's own are called among those of the kinds."""
_PLACE = re.compile(r"(?P<module>[A-Za-z_][\w.]*|.+\.py):(?P<name>[A-Za-z_]\w*)")


class CustomConfig(PairwiseSection):
    """A class that is given by its place: `model.kind=package.module:Class` or `model.kind=folder/file.py:Class`.

    The class is a `models.contract.Recommender`. Its settings are what `model.settings` says, and other sections have
    the defaults of the package's rivals (`PAIRWISE_RECIPE`) where nothing is said.
    """

    kind: str = Field(description="package.module:Class or file.py:Class")
    settings: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="what the class reads of its own, name: value"
    )

    @field_validator("kind")
    @classmethod
    def _is_place(cls, value: str) -> str:
        if not is_place(value):
            raise ValueError(f"model.kind: expected package.module:Class or file.py:Class, got {value!r}")
        return value

    @property
    def place(self) -> Mapping[str, str]:
        """ "module", a dotted name or a path of a .py file, and "name", the class in it."""
        found = _PLACE.fullmatch(self.kind)
        assert found is not None
        return found.groupdict()


def is_place(kind: str) -> bool:
    """Whether a kind says where a class of one's own lies."""
    return _PLACE.fullmatch(kind) is not None
