"""Names that become folders and files: one check for all of them, so that none leads elsewhere or is too long."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

LONGEST_NAME = 100
"""Characters of a name; what is added to it must still fit into the 255 bytes that file systems take."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")


def is_plain(name: str) -> bool:
    """Whether a name can be a folder's: letters of ASCII, digits, ".", ":", "_" and "-", a letter or digit first."""
    return len(name) <= LONGEST_NAME and _PLAIN.fullmatch(name) is not None


def _checked(name: str) -> str:
    if not is_plain(name):
        raise PydanticCustomError(
            "name",
            "expected a name of at most {longest} letters of ASCII, digits, dots, colons, dashes and underscores that "
            "begins with a letter or digit",
            {"longest": LONGEST_NAME},
        )
    return name


Name = Annotated[str, Field(coerce_numbers_to_str=True), AfterValidator(_checked)]
"""Names a folder."""
