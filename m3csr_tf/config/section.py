"""What every section of the settings is: frozen, validated, and without unknown keys."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from m3csr_tf.util.typed import as_meant, kinds

LARGEST_SEED = 2**32 - 1
"""What numpy's and scikit-learn's generators take."""

LONGEST_LIST = 100_000
"""Places of a list; some more than anyone ranks anew."""


WITHOUT_DATA = "of_release"
"""In the context of a validation: whether the settings are for a verb that opens no data."""


class Section(BaseModel):
    """A part of the tree: unknown keys are refused, values cannot change after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_meant(cls, value: Any, info: ValidationInfo) -> Any:
        annotation: Any = cls.model_fields[str(info.field_name)].annotation
        return as_meant(value, kinds(annotation))
