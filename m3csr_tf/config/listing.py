"""Lists every setting with its default, its range and its meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from m3csr_tf.config.models import DEFAULT_KIND, KINDS, ModelSection
from m3csr_tf.config.section import Section
from m3csr_tf.config.tree import Config

Row = tuple[str, str, str]


def described() -> list[Row]:
    """Returns every setting as (dotted name, default, choices or range, and meaning).

    The settings of a model say which kinds have them; a setting whose default or meaning differs between kinds has
    several rows. Defaults are those of model.kind=m3csr; other kinds have some of their own (`ModelSection.recipe`).
    """
    return list(_rows("", Config()))


def _rows(prefix: str, section: Section) -> Iterator[Row]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, ModelSection):
            yield from _of_kinds(f"{prefix}{name}.")
        elif isinstance(value, Section):
            yield from _rows(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", json.dumps(section.model_dump(mode="json")[name]), _meaning(field)


def _of_kinds(prefix: str) -> Iterator[Row]:
    yield f"{prefix}kind", json.dumps(DEFAULT_KIND), f"{' | '.join(KINDS)}; which model it is"
    kinds_of: dict[Row, list[str]] = {}
    for kind, section in KINDS.items():
        for row in _rows(prefix, section.model_validate({})):
            kinds_of.setdefault(row, []).append(kind)
    for (name, default, meaning), kinds in kinds_of.items():
        if name != f"{prefix}kind":
            of = f"of kind{'s' if len(kinds) > 1 else ''} {', '.join(kinds)}"
            yield name, default, f"{of}: {meaning}" if meaning else of


def _meaning(field: FieldInfo) -> str:
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return "; ".join(filter(None, [" | ".join(map(str, choices)), _range(field), field.description or ""]))


def _range(field: FieldInfo) -> str:
    """Describes the numbers that a setting takes."""
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    ends = [(words[end], getattr(one, end)) for one in field.metadata for end in words if hasattr(one, end)]
    return " ".join(f"{word} {value:,}" if isinstance(value, int) else f"{word} {value:g}" for word, value in ends)
