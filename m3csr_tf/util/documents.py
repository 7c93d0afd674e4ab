"""Reads JSON and YAML strictly: nothing is dropped or guessed silently, and no text can hang the reader.

A key that occurs twice is refused, instead of the first being dropped. YAML scalars are read by the core schema of YAML
1.2: 0701 and 1:30 are text, not numbers of other bases, and dates are text. Numbers keep the text by which they were
written.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from m3csr_tf.errors import InputError, M3CSRError
from m3csr_tf.util.files import regular
from m3csr_tf.util.quoting import quoted

_MOST_NODES = 1_000_000
"""Largest number of nodes of a YAML document with its aliases expanded; ten lines of nested aliases can stand for
billions.
"""


class _Malformed(ValueError):
    """An error that says in one sentence why a text is not a valid document."""


def parse_json(text: str | bytes) -> Any:
    """Returns the value of a JSON text.

    Raises:
      ValueError: the text is not JSON or not UTF-8, has a key twice in one object, is nested too deeply, or holds NaN,
        Infinity, or a number of thousands of digits; the message is one line.
    """
    try:
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except RecursionError:
        raise _Malformed("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise _Malformed("it is not UTF-8 text") from None
    except ValueError as error:
        raise _Malformed(str(error).split("\n")[0]) from None


def read_json(path: Path, expected: str, error: type[M3CSRError] = InputError) -> Any:
    """Returns the value of a JSON file.

    Args:
      path: the file.
      expected: what the file should hold, for the message: "expected ...".
      error: the class of the error that is raised.

    Raises:
      M3CSRError: of class `error`, if the file is missing, cannot be read, or is refused by `parse_json`.
    """
    try:
        return parse_json(regular(path).read_bytes())
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror or problem}); expected {expected}") from None
    except ValueError as problem:
        raise error(f"{path}: not valid JSON ({problem}); expected {expected}") from None


def parse_yaml(text: str) -> Any:
    """Returns the value of a YAML text.

    Numbers are returned as `WrittenInt` and `WrittenFloat`, which keep their text.

    Raises:
      ValueError: the text is not YAML, has a key twice in one mapping, is nested too deeply, contains itself, is too
        large with its aliases expanded, or has a tag that is not of the core schema; the message is one line.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _weigh(node, {}, set())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise _Malformed("it is nested too deeply") from None
    except yaml.MarkedYAMLError as error:  # The text around it is left out: it may hold secrets.
        problem = ", ".join(filter(None, (error.context, error.problem)))
        mark = error.problem_mark
        at = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise _Malformed(problem + at) from None
    except yaml.YAMLError as error:
        raise _Malformed(" ".join(str(error).split())) from None


def dump_yaml(tree: Any) -> str:
    """Returns the text of a tree of mappings, lists and scalars, which `parse_yaml` reads back as an equal tree.

    Text that a reader of YAML 1.1 would read as something else is quoted as well.
    """
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False)


class WrittenInt(int):
    """A whole number that keeps the text by which it was written, so that a name such as 007 stays as it was typed."""

    written: str


class WrittenFloat(float):
    """A number that keeps the text by which it was written, so that a name such as 1.10 stays as it was typed."""

    written: str


class _Loader(yaml.SafeLoader):
    """A SafeLoader with the scalars of YAML 1.2's core schema, which refuses keys that occur twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (as in PyYAML)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):  # Of several <<, the last would win silently.
                if key.value in seen:
                    raise _Malformed(f"key {quoted(key.value)} is there twice, again in line {key.start_mark.line + 1}")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """A SafeDumper that quotes text unless this module's reader and a reader of YAML 1.1 both read it as text."""


def _number(make: type[WrittenInt] | type[WrittenFloat]) -> Any:
    def constructed(loader: _Loader, node: yaml.ScalarNode) -> WrittenInt | WrittenFloat:
        text = node.value
        try:
            number = make(text.lower().replace(".inf", "inf").replace(".nan", "nan"))  # `_check_tag` has checked it.
        except ValueError:  # Python reads no more than some thousand digits.
            raise _Malformed(f"{quoted(text)} is too long for a number") from None
        number.written = text
        return number

    return constructed


_CORE = "tag:yaml.org,2002:"
_SCALARS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    "float": (
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "merge": (r"<<", "<"),
    "null": (r"~|null|Null|NULL|", "~nN"),
}
"""Tag -> the pattern of its scalars, and the characters with which they begin; an empty scalar is null."""
_TEXTS = {f"{_CORE}{tag}": re.compile(rf"^(?:{pattern})\Z") for tag, (pattern, _) in _SCALARS.items()}
_TAGS: dict[type[yaml.Node], set[str]] = {
    yaml.ScalarNode: {*_TEXTS, f"{_CORE}str"},
    yaml.SequenceNode: {f"{_CORE}seq"},
    yaml.MappingNode: {f"{_CORE}map"},
}
"""Kind of a node -> the tags that it may have."""

for _tag, (_, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(f"{_CORE}{_tag}", _TEXTS[f"{_CORE}{_tag}"], [*_first])
_Loader.add_implicit_resolver(f"{_CORE}null", re.compile(r"^$"), [""])
_Loader.add_constructor(f"{_CORE}int", _number(WrittenInt))
_Loader.add_constructor(f"{_CORE}float", _number(WrittenFloat))
_Loader.add_constructor(f"{_CORE}merge", yaml.SafeLoader.construct_yaml_str)  # A << that is not a key is text.
_OLDER = yaml.SafeDumper.yaml_implicit_resolvers
_Dumper.yaml_implicit_resolvers = {
    first: [*_Loader.yaml_implicit_resolvers.get(first, []), *_OLDER.get(first, [])]
    for first in {*_Loader.yaml_implicit_resolvers, *_OLDER}
}
for _kind, _tag in ((WrittenInt, "int"), (WrittenFloat, "float")):
    _Dumper.add_representer(
        _kind, lambda dumper, number, tag=f"{_CORE}{_tag}": dumper.represent_scalar(tag, number.written)
    )


def _check_tag(node: yaml.Node) -> None:
    """Refuses a tag that is not of the core schema, and a scalar that does not fit its tag."""
    tag = node.tag.replace(_CORE, "!!")
    line = node.start_mark.line + 1
    if node.tag not in _TAGS[type(node)]:
        known = ", ".join(sorted(one.replace(_CORE, "!!") for one in _TAGS[type(node)] - {f"{_CORE}merge"}))
        raise _Malformed(f"line {line} has the tag {quoted(tag)[1:-1]}, expected {known} or, better, none")
    if node.tag in _TEXTS and not _TEXTS[node.tag].match(node.value):
        raise _Malformed(f"line {line}: {quoted(node.value)} is no {tag}")


def _weigh(node: yaml.Node, known: dict[int, int], open_nodes: set[int]) -> int:
    """Counts the nodes of a tree with its aliases expanded.

    It refuses a node that contains itself, and a tree of more than _MOST_NODES nodes.
    """
    if id(node) in open_nodes:
        raise _Malformed("an alias stands for what contains it")
    if id(node) not in known:
        _check_tag(node)
        open_nodes.add(id(node))
        below: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            below = node.value
        elif isinstance(node, yaml.MappingNode):
            below = [part for pair in node.value for part in pair]
        total = 1 + sum(_weigh(part, known, open_nodes) for part in below)
        open_nodes.discard(id(node))
        if total > _MOST_NODES:
            raise _Malformed(f"it stands for more than {_MOST_NODES:,} values, its aliases written out")
        known[id(node)] = total
    return known[id(node)]


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for at, key in enumerate(keys) if key in keys[:at])
        raise _Malformed(f"key {quoted(twice)} is there twice")
    return made


def _no_constant(text: str) -> Any:
    raise _Malformed(f"{text} is no number of JSON")
