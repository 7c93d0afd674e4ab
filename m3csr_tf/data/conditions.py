"""Conditions on the rows of a table (`data.where`): a column, and the value or comparison that it must satisfy."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from m3csr_tf.errors import InputError
from m3csr_tf.util.quoting import quoted

Value = bool | int | float | str

_COMPARISONS: dict[str, Callable[..., Any]] = {
    ">=": pc.greater_equal,
    "<=": pc.less_equal,
    "!=": pc.not_equal,
    "==": pc.equal,
    ">": pc.greater,
    "<": pc.less,
    "=": pc.equal,
}
_COMPARISON = re.compile(r"\s*(>=|<=|!=|==|>|<|=)\s*(.*?)\s*", re.DOTALL)


class Condition:
    """Tests whether a row's cell in a column equals `value`, or satisfies it where it is a comparison such as ">=4".

    A row whose cell is missing never satisfies a condition.

    Args:
      column: the name of the column in the file.
      value: a number, a boolean or a text to be equal to, or a text that holds a comparison with one of them.
      path: the path of the table, for error messages.
    """

    def __init__(self, column: str, value: Value, path: Path) -> None:
        self.column = column
        self._value = value
        self._path = path
        compared = _COMPARISON.fullmatch(value) if isinstance(value, str) else None
        self._compare = _COMPARISONS[compared[1]] if compared else pc.equal
        self._orders = compared is not None and compared[1][0] in "<>"
        self._operand: Value = compared[2] if compared else value

    @property
    def is_of_digits(self) -> bool:
        """Whether the value is a text of digits such as "007", which would equal other texts if read as a number."""
        return isinstance(self._value, str) and self._value.isdecimal()

    def holds(self, cells: pa.ChunkedArray) -> pa.ChunkedArray:
        """Evaluates the condition on the cells of its column, which gives bool [rows].

        Raises:
          InputError: the values of the column cannot be compared with the value of the condition.
        """
        if pa.types.is_dictionary(cells.type):
            cells = pc.cast(cells, cells.type.value_type)
        if pa.types.is_null(cells.type):
            return pa.chunked_array([pa.repeat(False, len(cells))])
        try:
            operand = self._operand
            if self._orders and isinstance(operand, str) and _is_number(operand):
                operand = float(operand)  # As text, "10" would sort before "9" in a file that holds numbers as text.
            cells, operand = _alike(cells, operand)
            return pc.fill_null(self._compare(cells, operand), False)
        except (pa.ArrowException, ValueError, OverflowError):
            some = next((cell for cell in cells.drop_null()[:1].to_pylist()), None)
            raise InputError(
                f"{self._path}: data.where compares column {quoted(self.column)}, which holds {cells.type} values such "
                f"as {quoted(some)}, with {quoted(self._value)}; give a value of its kind"
            ) from None


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _alike(cells: pa.ChunkedArray, operand: Value) -> tuple[pa.ChunkedArray, pa.Scalar]:
    """Casts cells and operand to a common type. Numbers are compared as numbers even if one side holds them as text."""
    kind = cells.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if text and isinstance(operand, str):
        return cells, pa.scalar(operand, kind)
    if text and isinstance(operand, bool):
        cells, kind = pc.cast(cells, pa.bool_()), pa.bool_()
    if text and not isinstance(operand, bool):
        return pc.cast(cells, pa.float64()), pa.scalar(float(operand))
    if pa.types.is_boolean(kind):
        return cells, pa.scalar(str(operand).lower()).cast(pa.bool_())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        number = float(operand)
        if pa.types.is_integer(kind) and kind != pa.uint64() and number.is_integer() and abs(number) < 2**63:
            exact = int(number) if isinstance(operand, str) and not operand.strip("+-").isdigit() else int(operand)
            return pc.cast(cells, pa.int64()), pa.scalar(exact, pa.int64())
        return pc.cast(cells, pa.float64(), safe=False), pa.scalar(number)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        with suppress(pa.ArrowInvalid):  # A date or a time without a zone is taken as UTC.
            return cells, pa.scalar(str(operand)).cast(pa.timestamp(kind.unit)).cast(kind)
    return cells, pa.scalar(str(operand)).cast(kind)
