"""The bearer token that requests must bring, in a file that only the service reads."""

from __future__ import annotations

from pathlib import Path

from m3csr_tf.errors import ConfigError
from m3csr_tf.util.files import regular

_SHORTEST = 16


def read_token(path: Path | None) -> str | None:
    """The bearer token in a file, without white space around it; None without a file.

    Raises:
      ConfigError: the file cannot be read, or holds no token.
    """
    if path is None:
        return None
    try:
        token = regular(path).read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}); check service.token_file") from None
    except ValueError:
        raise ConfigError(f"{path}: holds something else than ASCII; expected a token (service.token_file)") from None
    if len(token) < _SHORTEST or not token.isprintable() or " " in token:
        raise ConfigError(
            f"{path}: holds {len(token)} characters; expected one token of at least {_SHORTEST} characters "
            "without spaces, e.g. what `openssl rand -hex 32` prints (service.token_file)"
        )
    return token
