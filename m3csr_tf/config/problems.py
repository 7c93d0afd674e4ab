"""Describes what is wrong with given settings, in one line."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from m3csr_tf.config import renamed
from m3csr_tf.config.models import KINDS
from m3csr_tf.util.names import LONGEST_NAME
from m3csr_tf.util.quoting import printable, quoted

_MOST_PROBLEMS = 5
"""Largest number of problems of a configuration that its message names."""


_CONDITION = 'one number, true or false, or text, perhaps with a comparison, e.g. ">=4"'


def in_one_line(error: ValidationError, path: Path | None, overrides: Collection[str] = ()) -> str:
    """Describes the problems of a configuration, of which it names at most five.

    Args:
      error: the error of pydantic.
      path: the file of the settings, if they come from one.
      overrides: dotted names of settings that are not from the file; the file is named only if there are problems with
        other settings.
    """
    of_overrides: list[str] = []
    in_file: list[str] = []
    problems = error.errors(include_url=False)
    for problem in problems[:_MOST_PROBLEMS]:
        lines = of_overrides if _overridden(problem, overrides) else in_file
        place, kind, for_kind = problem["loc"], None, ""
        if place[:1] == ("model",) and place[1:2] and place[1] in KINDS:  # Pydantic adds the kind to the location.
            place, kind, for_kind = ("model", *place[2:]), str(place[1]), f" for model.kind={place[1]}"
        if place[:2] == ("data", "where") and len(place) > 2:
            # Every kind of the union would report the problem.
            line = f"data.where.{printable(str(problem['loc'][2])[:LONGEST_NAME])}: expected {_CONDITION}, got "
            lines.extend({line + quoted(problem["input"])} - set(lines))
            continue
        field = printable(".".join(str(part)[:LONGEST_NAME] for part in place))
        if problem["type"] == "extra_forbidden":
            nested = "." in str(place[-1])
            advice = "write section and name on two levels" if nested else renamed.advice(field, kind)
            lines.append(f"unknown setting {field}{for_kind}; {advice}")
        elif problem["type"] == "value_error":
            lines.append(str(problem["ctx"]["error"]))
        elif place[:1] == ("spark",) or place[:2] == ("run", "tracking_uri"):  # What was given may be a secret.
            lines.append(f"{field}: {problem['msg']}")
        else:
            lines.append(f"{field}: {problem['msg']}, got {quoted(problem['input'])}")
    if path and in_file:
        in_file[0] = f"{path}: {in_file[0]}"
    more = [f"and {len(problems) - _MOST_PROBLEMS:,} more"] if len(problems) > _MOST_PROBLEMS else []
    return "; ".join(of_overrides + in_file + more)


def _overridden(problem: ErrorDetails, overrides: Collection[str]) -> bool:
    """Returns whether a problem is with a setting that was overridden, or with a section that contains it."""
    place = [str(part) for part in problem["loc"]]
    if place[:1] == ["model"] and place[1:2] and place[1] in KINDS:
        del place[1]
    return any(".".join(place[:end]) in overrides for end in range(2, len(place) + 1))


def of_file(error: ValidationError, path: Path) -> str:
    """Describes the problems of a file that lists runs or settings: of an experiment, suite, simulation or space.

    Args:
      error: the error of pydantic.
      path: the file.
    """
    return f"{path}: {'; '.join(map(_of_entry, error.errors(include_url=False)))}"


def _of_entry(problem: ErrorDetails) -> str:
    place = printable(".".join(map(str, problem["loc"])))
    match problem["type"]:
        case "extra_forbidden":
            return f"unknown entry {place}"
        case "missing":
            return f"{place} is missing"
        case "model_type":
            return f"{place}: expected entries, name: value, got {quoted(problem['input'])}; write {{}} for none"
        case "value_error":
            return ": ".join(filter(None, [place, str(problem["ctx"]["error"])]))
        case _:
            return f"{place}: {problem['msg']}, got {quoted(problem['input'])}"
