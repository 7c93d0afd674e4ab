"""Secrets among settings: passwords, tokens and keys do not lie readable in the files of a run, nor in messages."""

from __future__ import annotations

import re

HIDDEN = "***"
"""In place of a secret."""
_SECRET = re.compile(r"(?i)secret|password|passphrase|passwd|token|credential|access[.]?key|\bsas\b|sig=")
"""In a name or in what it stands for, e.g. -Djavax.net.ssl.trustStorePassword=...; much as Spark has it."""
_NAMED = re.compile(r"(?i)key")
"""In names alone: in values it is a word like others."""
_USER_INFO = re.compile(r"(?<=//)\S*:\S*@")
"""user:password@ of an address; greedy, since a password may hold what ends one."""


def is_secret(name: str, value: str) -> bool:
    """Whether a setting must not be shown: its name says so, or its value has a secret in it."""
    return any(pattern.search(text) for pattern, text in ((_SECRET, name), (_NAMED, name), (_SECRET, value))) or (
        _USER_INFO.search(value) is not None
    )


def address_shown(address: str) -> str:
    """An address as it may be shown: without user and password, and without a query that holds a secret."""
    place, question, query = without_password(address).partition("?")
    return f"{place}{question}{HIDDEN if _SECRET.search(query) or _NAMED.search(query) else query}"


def without_password(address: str) -> str:
    """An address with *** in place of user:password."""
    return _USER_INFO.sub(f"{HIDDEN}@", address)
