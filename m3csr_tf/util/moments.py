"""Moments as people write them, in Unix seconds."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any

from m3csr_tf.util.quoting import quoted

EARLIEST, LATEST = 315_532_800, 4_102_444_800
"""1980-01-01 and 2100-01-01 in Unix seconds. Numbers between them are taken for times."""
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")


def moment(value: Any, setting: str) -> float:
    """Converts a moment to Unix seconds.

    Args:
      value: seconds since 1970, or an ISO 8601 date, which is UTC if it has no time zone.
      setting: the name of the setting in messages.

    Raises:
      ValueError: it is neither, or lies before 1980 or after 2099.
    """
    expected = "an ISO 8601 time, e.g. 2024-05-01T06:00:00Z, or seconds since 1970, of the years 1980 to 2099"
    refused = ValueError(f"{setting} must be {expected}, got {quoted(value)}")
    if isinstance(value, str):
        text = value.strip()
        try:
            value = float(text) if _NUMBER.fullmatch(text) else datetime.fromisoformat(text)
        except ValueError:
            raise refused from None
    if isinstance(value, date):
        day = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
        value = (day if day.tzinfo else day.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float) or not EARLIEST <= value < LATEST:
        raise refused
    return float(value)
