"""Checks names that become folders and files, so that none leads elsewhere or is too long."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from m3csr_tf.errors import ConfigError

LONGEST_NAME = 100
"""Largest number of characters of a name; what is added to it must still fit into the 255 bytes that file systems
allow.
"""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")


def is_plain(name: str) -> bool:
    """Returns whether a name may be a folder's: ASCII letters, digits, ".", ":", "_", "-", letter or digit first."""
    return len(name) <= LONGEST_NAME and _PLAIN.fullmatch(name) is not None


def check_room(setting: str, given: int, longest: str) -> None:
    """Refuses a name that is too long, because longer names are made from it.

    Args:
      setting: the setting that gives the name, for the message.
      given: the number of characters of the name.
      longest: the longest of the names that are made from it.

    Raises:
      ConfigError: the longest name has more characters than a name may have.
    """
    over = len(longest) - LONGEST_NAME
    if over > 0:
        raise ConfigError(
            f"{setting}: got {given} letters, expected at most {given - over}, since runs are called {longest} and a "
            f"name has at most {LONGEST_NAME} letters; choose a shorter one"
        )


def job_folders(output: Path) -> list[Path]:
    """Returns the paths, sorted, that have the name of a batch job's folder for this output.

    Other things than job folders may have such a name, too.
    """
    name = re.compile(rf"\.{re.escape(output.name)}-[0-9a-f]{{16}}")
    return sorted(path for path in output.parent.glob(".*") if name.fullmatch(path.name))


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
"""A name of a folder."""
