"""Hides passwords, tokens and keys among settings: nobody can read them in a run's files or in messages."""

from __future__ import annotations

import re

HIDDEN = "***"
"""Stands in place of a secret."""
_SECRET = re.compile(r"(?i)secret|password|passphrase|passwd|token|credential|access[.]?key|\bsas\b|sig=")
"""Matches the name or the value of a secret, e.g. -Djavax.net.ssl.trustStorePassword=...; it is similar to Spark's
pattern.
"""
_NAMED = re.compile(r"(?i)key")
"""Matches names of secrets alone: in values, "key" is an ordinary word."""
_USER_INFO = re.compile(r"(?<=//)\S*:\S*@")
"""Matches user:password@ of an address. It is greedy, because a password may contain the character that ends one."""


def is_secret(name: str, value: str) -> bool:
    """Returns whether a setting must not be shown, because its name says so or its value contains a secret."""
    return any(pattern.search(text) for pattern, text in ((_SECRET, name), (_NAMED, name), (_SECRET, value))) or (
        _USER_INFO.search(value) is not None
    )


def address_shown(address: str) -> str:
    """An address as it may be shown: without user and password, and without a query that holds a secret."""
    place, question, query = without_password(address).partition("?")
    return f"{place}{question}{HIDDEN if _SECRET.search(query) or _NAMED.search(query) else query}"


def without_password(address: str) -> str:
    """Returns an address with *** in place of user:password."""
    return _USER_INFO.sub(f"{HIDDEN}@", address)
