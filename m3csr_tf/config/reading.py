"""Reads settings: a YAML file, dotted overrides, and the checked tree of both."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import reduce
from operator import or_
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError

from m3csr_tf.config.problems import in_one_line
from m3csr_tf.config.section import WITHOUT_DATA, Section
from m3csr_tf.config.tree import Config
from m3csr_tf.errors import ConfigError
from m3csr_tf.util.documents import WrittenFloat, WrittenInt, parse_yaml
from m3csr_tf.util.files import regular
from m3csr_tf.util.hidden import HIDDEN
from m3csr_tf.util.quoting import is_utf8, quoted
from m3csr_tf.util.typed import word_for

_MAY_BE_SECRET = re.compile(r"\s*(?:spark\b[\w.]*|run\.tracking_uri)")
"""What an override begins with that may hold a secret: all that may be shown of it."""


def load(path: Path | None, overrides: Sequence[str] = (), *, without_data: bool = False) -> Config:
    """Reads a YAML file and applies dotted overrides, e.g. `run.seed=3`; values are YAML.

    Args:
      path: the file; None for the defaults.
      overrides: dotted overrides; the last one of a setting counts.
      without_data: whether the settings are for a verb that opens a release and no data, so that they need not name
        data.

    Raises:
      ConfigError: the file is missing or not a mapping, or a setting is unknown, mistyped or contradictory.
    """
    tree = {} if path is None else read_mapping(path, "configuration", "--config", "of sections")
    return _validated(tree, overrides, path, without_data)


def read_mapping(path: Path, what: str, option: str, holds: str) -> dict[str, Any]:
    """Returns the mapping of a YAML file of settings, unchecked; that of an empty file is empty.

    Args:
      path: the file.
      what, option, holds: for messages: what the file is, the option that names it, and what it is a mapping of, with
        "of" or "with" before it.

    Raises:
      ConfigError: the file is missing, not YAML (`documents.parse_yaml`), or not a mapping.
    """
    try:
        tree = parse_yaml(regular(Path(path)).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the {what} ({error.strerror or error}); check {option}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not valid YAML (it is not UTF-8 text)") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid YAML ({error})") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected a mapping {holds}, got {_kind(tree)}")
    return tree


def with_settings(config: Config, settings: Mapping[str, Any], overrides: Sequence[str] = ()) -> Config:
    """Returns a configuration in which settings, dotted name -> value, and then dotted overrides replace its own.

    Raises:
      ConfigError: a setting is unknown, mistyped, or contradicts another.
    """
    tree = config.model_dump(mode="json")
    for name, value in settings.items():
        _put(tree, name.split("."), value, name)
    return _validated(tree, overrides, None)


def _validated(tree: dict[str, Any], overrides: Sequence[str], path: Path | None, without_data: bool = False) -> Config:
    given: dict[str, tuple[str, Any]] = {}
    for override in overrides:
        key, value = _read(override)
        given[key] = override, value
        _put(tree, key.split("."), deepcopy(value), override)
    for key, (override, value) in given.items():
        if not _holds(_found(tree, key.split(".")), value):
            raise ConfigError(f"override {_shown(override)}: another override says otherwise; give the setting once")
    try:
        return Config.model_validate(tree, context={WITHOUT_DATA: without_data})
    except ValidationError as error:
        raise ConfigError(in_one_line(error, path, given)) from None


def _read(override: str) -> tuple[str, Any]:
    """Returns the dotted name and the value of an override."""
    key, equals, text = override.partition("=")
    parts = key.split(".")
    if not equals or not all(parts) or len(parts) < 2:
        raise ConfigError(f"override {_shown(override)}: expected section.name=value, e.g. run.seed=3")
    if not is_utf8(override):
        raise ConfigError(f"override {_shown(override)}: it is no UTF-8; give names and paths in UTF-8")
    try:
        value = parse_yaml(text)
    except ValueError as error:
        raise ConfigError(
            f"override {_shown(override)}: the value is not valid YAML ({error}); quote it if it is text"
        ) from None
    return key, word_for(text, value, _annotation(parts))


def _shown(override: str) -> str:
    """An override as it stands in messages; what may be a secret does not."""
    name = _MAY_BE_SECRET.match(override)
    return quoted(f"{name[0]}={HIDDEN}" if name else override)


def _annotation(parts: list[str]) -> Any:
    """Returns the annotation of a setting, in any section that a union allows for it; `Any` for an unknown setting."""
    found: list[Any] = [Config]
    for part in parts:
        sections = [one for annotation in found for one in _sections(annotation) if part in one.model_fields]
        found = [section.model_fields[part].annotation for section in sections]
    return reduce(or_, found) if found else object


def _sections(annotation: Any) -> list[type[Section]]:
    """Returns the sections that an annotation allows: itself, or the members of a union."""
    if get_origin(annotation) is Annotated:
        return _sections(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [section for part in get_args(annotation) for section in _sections(part)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, Section) else []


def _put(tree: dict[str, Any], parts: list[str], value: Any, override: str) -> None:
    for part in parts[:-1]:
        child = tree.get(part)
        if child is None:
            child = tree[part] = {}
        if not isinstance(child, dict):
            raise ConfigError(
                f"override {_shown(override)}: {quoted(part)} is a single value and has no settings of its own"
            )
        tree = child
    tree[parts[-1]] = value


def _found(tree: Any, parts: list[str]) -> Any:
    for part in parts:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _holds(found: Any, value: Any) -> bool:
    """Returns whether everything that an override says is found in the tree."""
    if isinstance(value, dict) and isinstance(found, dict):
        return all(key in found and _holds(found[key], part) for key, part in value.items())
    return type(found) is type(value) and found == value


def _kind(value: Any) -> str:
    """Returns the name of the type of a YAML value, for messages."""
    return {WrittenInt: "int", WrittenFloat: "float"}.get(type(value), type(value).__name__)
