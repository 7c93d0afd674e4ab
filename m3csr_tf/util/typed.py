"""Reads YAML values as the settings mean them: a name keeps the text that was typed, and true is not a number."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticCustomError

from m3csr_tf.util.documents import WrittenFloat, WrittenInt

_LONGEST_PART = 255
"""Largest number of bytes of a file name that file systems allow."""
_TEXTS = frozenset({str, Path, NoneType})


@cache
def kinds(annotation: Any) -> frozenset[type]:
    """Returns the classes of an annotation's values at any depth, e.g. int and NoneType of `tuple[int] | None`."""
    if get_origin(annotation) is Literal:
        return frozenset(type(one) for one in get_args(annotation))
    if isinstance(annotation, type) and not get_args(annotation):
        return frozenset({annotation})
    return frozenset[type]().union(*(kinds(part) for part in get_args(annotation)))


def as_meant(value: Any, wanted: frozenset[type]) -> Any:
    """Converts a value from YAML for a setting that takes these classes; keys of mappings become text.

    Raises:
      PydanticCustomError: the value is true or false where a number is wanted, or text that no path or name can hold.
    """
    if any(issubclass(kind, BaseModel) for kind in wanted):  # Its own fields convert their values.
        return {_as_key(key): part for key, part in value.items()} if isinstance(value, Mapping) else value
    if isinstance(value, bool):
        if bool not in wanted and wanted & {int, float}:
            raise PydanticCustomError("number", "expected a number")
        return value
    if isinstance(value, WrittenInt | WrittenFloat):
        if wanted <= _TEXTS:
            return value.written
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, str):
        return _as_text(value, Path in wanted)
    if isinstance(value, Mapping):
        return {_as_key(key): as_meant(part, wanted) for key, part in value.items()}
    return [as_meant(part, wanted) for part in value] if isinstance(value, list) else value


def word_for(text: str, value: Any, annotation: Any) -> Any:
    """Returns what an override means: true, false, and null where it has no other meaning, are words of a text setting.

    Args:
      text: the text as it was typed.
      value: the value that YAML reads in it.
      annotation: the annotation of the setting.
    """
    wanted = kinds(annotation)
    is_word = isinstance(value, bool) or (value is None and NoneType not in wanted and text.strip() != "")
    return text.strip() if is_word and wanted <= _TEXTS and get_origin(annotation) is not Literal else value


def _as_key(key: Any) -> Any:
    return key.written if isinstance(key, WrittenInt | WrittenFloat) else key


def _as_text(text: str, is_path: bool) -> str:
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        raise PydanticCustomError("text", "expected text, which half a surrogate pair is not") from None
    if b"\0" in encoded:
        raise PydanticCustomError("text", "expected text without a NUL")
    if is_path and max(map(len, encoded.split(b"/"))) > _LONGEST_PART:
        raise PydanticCustomError("path", "expected file names of at most {longest} bytes", {"longest": _LONGEST_PART})
    return text
