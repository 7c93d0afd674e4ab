"""serve: answers requests for lists over HTTP, from the current version of a release (docs/service.md)."""

from __future__ import annotations

from importlib.util import find_spec

from m3csr_tf.config import Config
from m3csr_tf.errors import ConfigError
from m3csr_tf.service.supervisor import Supervisor
from m3csr_tf.verbs.console import say

_NEEDED = ("fastapi", "uvicorn", "httptools", "prometheus_client")


def serve(config: Config) -> None:
    """Serves lists, similar items and explanations until the process is interrupted.

    Args:
      config: names the release, and holds the sections `service`, `retrieve` and `similar`.

    Raises:
      ConfigError: the packages of the extra `service` are not installed, or settings cannot be used.
      ReleaseError: there is no release, or it cannot be opened.
    """
    lacking = [name for name in _NEEDED if find_spec(name) is None]
    if lacking:
        raise ConfigError(f"serve needs {', '.join(lacking)}, which is not installed: pip install 'm3csr_tf[service]'")
    Supervisor(config, say).run()
