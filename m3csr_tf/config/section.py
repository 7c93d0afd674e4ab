"""The base class of the sections of the settings, which are frozen, validated, and without unknown keys."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from m3csr_tf.util.typed import as_meant, kinds

LARGEST_SEED = 2**32 - 1
"""The largest seed that the generators of numpy and scikit-learn take."""

LONGEST_LIST = 100_000
"""The largest length of a list, which is more than any later ranking stage needs."""


WITHOUT_DATA = "of_release"
"""A key of the validation context: whether the settings are for a verb that opens no data."""


class Section(BaseModel):
    """A part of the tree, which refuses unknown keys, and whose values cannot change after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_meant(cls, value: Any, info: ValidationInfo) -> Any:
        annotation: Any = cls.model_fields[str(info.field_name)].annotation
        return as_meant(value, kinds(annotation))
