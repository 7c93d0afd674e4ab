"""What the supervisor tells a worker that it starts, as one line of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Assignment:
    """What a worker is to serve.

    Attributes:
      folder: `saved_models/<name>`.
      version: number of the version.
      descriptor: of the listening socket.
      at_once: whether to accept connections before the release is open, so that health can be asked for.
      threads: of TensorFlow's kernels; 0 takes every core.
      token: the bearer token that requests must bring; None asks nobody.
      service, retrieve, similar, cold: sections of the settings, as JSON.
    """

    folder: str
    version: int
    descriptor: int
    at_once: bool
    threads: int
    token: str | None
    service: dict[str, Any]
    retrieve: dict[str, Any]
    similar: dict[str, Any]
    cold: dict[str, Any]

    def to_line(self) -> bytes:
        """The line that `from_line` reads."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Assignment:
        """The assignment of a line."""
        return cls(**json.loads(line))
