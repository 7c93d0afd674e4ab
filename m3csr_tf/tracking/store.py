"""Opens the MLflow store of `run.tracking_uri`, and says in one message what is wrong with it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from m3csr_tf.config import RunConfig
from m3csr_tf.config.run import DATABASES, WEB_STORES, scheme_of
from m3csr_tf.errors import M3CSRError, TrackingError
from m3csr_tf.util.hidden import HIDDEN, address_shown, without_password
from m3csr_tf.util.quoting import printable

if TYPE_CHECKING:
    from mlflow import MlflowClient

Of = TypeVar("Of")

ARTIFACTS = "mlartifacts"
"""Folder beside the file of SQLite in which the files of its runs lie."""
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # Nothing of a training is reported to others.
    "MLFLOW_ALLOW_FILE_STORE": "true",  # Who names a folder has chosen it, though MLflow would rather have SQLite.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # By default, a server that is away holds a training up for minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # Seconds.
}
"""MLflow's own switches, where the environment does not set them."""
_DEFAULT_STORE = "MLFLOW_TRACKING_URI"
_LONGEST = 300
"""Characters of what MLflow says."""
_SQLITE = b"SQLite format 3\0"


class StoreAway(TrackingError):
    """The server of the store does not answer; later it may."""


@dataclass(frozen=True)
class Store:
    """An open store.

    Attributes:
      client: MLflow's client of its runs and its registry.
      experiment: id of `run.tracking_experiment` there.
      shown: its address without secrets.
    """

    client: MlflowClient
    experiment: str
    shown: str


def open_store(config: RunConfig) -> Store:
    """Opens the store, and makes the experiment there if need be.

    Raises:
      TrackingError: MLflow is not installed, the store cannot be read or written, or its experiment was deleted.
      StoreAway: its server does not answer.
    """
    assert config.tracking_uri is not None
    address, shown = config.tracking_uri, address_shown(config.tracking_uri)
    if HIDDEN in address:
        raise TrackingError(
            f"run.tracking_uri={shown}: {HIDDEN} stands for a secret, which no file of a run holds; give it again, or "
            "let MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD hold it"
        )
    local = _local_file(address)
    if local is not None:
        _check_local(local, is_folder=scheme_of(address) != "sqlite", shown=shown)
        address = address if scheme_of(address) == "sqlite" else local.as_uri()
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise TrackingError(
            "run.tracking_uri needs MLflow, which is not installed: pip install 'm3csr_tf[mlflow]'"
        ) from None
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with answers(address, shown):
        client = MlflowClient(tracking_uri=address, registry_uri=address)
        experiment = _experiment(client, config.tracking_experiment, address, shown)
    return Store(client, experiment, shown)


class Connection:
    """A store that is opened when it is first needed, and once.

    Args:
      config: section `run`, with a `tracking_uri`.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._store: Store | None = None

    def do(self, action: Callable[[Store], Of]) -> Of:
        """What an action on the store gives.

        Raises:
          M3CSRError: as `open_store` and `answers`, and what the action raises of this package's own.
        """
        if self._store is None:
            self._store = open_store(self._config)
        with answers(self._config.tracking_uri or "", self._store.shown):
            return action(self._store)


@contextmanager
def answers(address: str, shown: str) -> Iterator[None]:
    """Turns whatever MLflow raises in the block into one message.

    Args:
      address: of the store, which says what its errors mean.
      shown: the same without secrets.

    Raises:
      StoreAway: the server does not answer.
      TrackingError: the store refuses.
    """
    try:
        with _default_store(address):
            yield
    except M3CSRError:
        raise
    except Exception as error:  # MLflow passes on what its databases, drivers and HTTP clients raise.
        said = " ".join(without_password(str(error)).split()) or type(error).__name__
        if _is_away(scheme_of(address), error, said):
            raise StoreAway(f"run.tracking_uri={shown} does not answer ({_cut(said)})") from error
        raise TrackingError(
            f"run.tracking_uri={shown}: MLflow refuses it ({_cut(said)}); check the address, the rights, and MLflow's "
            "version there"
        ) from error


@contextmanager
def _default_store(address: str) -> Iterator[None]:
    """Makes a folder MLflow's default store in the block, unless the environment names one.

    A store of folders looks for the metrics of a model's version in the default store, whichever it is itself, and
    MLflow's own default is a file mlflow.db, which it would make in the working directory.
    """
    folder = _local_file(address) if scheme_of(address) != "sqlite" else None
    if folder is None or _DEFAULT_STORE in os.environ:
        yield
        return
    os.environ[_DEFAULT_STORE] = folder.as_uri()
    try:
        yield
    finally:
        os.environ.pop(_DEFAULT_STORE, None)


def error_code(error: Exception) -> str:
    """MLflow's name of an error, e.g. RESOURCE_DOES_NOT_EXIST; "" of another library's."""
    return str(getattr(error, "error_code", ""))


def _is_away(scheme: str, error: Exception, said: str) -> bool:
    if scheme in WEB_STORES:
        return "failed with exception" in said or "failed with error code 5" in said or _status(error) >= 500
    return scheme in DATABASES and "OperationalError" in f"{type(error).__name__} {said}"


def _status(error: Exception) -> int:
    """The HTTP status of an answer of the server's; 0 where it gave none."""
    get: Any = getattr(error, "get_http_status_code", None)
    return int(get()) if get is not None and type(error).__name__ == "RestException" else 0


def _cut(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _local_file(address: str) -> Path | None:
    """The file or folder of a store on this machine, absolute."""
    scheme = scheme_of(address)
    if scheme == "sqlite":
        return Path(address.removeprefix("sqlite:///").partition("?")[0]).absolute()
    if scheme == "file":
        return Path(unquote(urlsplit(address).path)).absolute()
    return Path(address).absolute() if scheme == "" else None


def _check_local(place: Path, is_folder: bool, shown: str) -> None:
    """Before MLflow, which tries for minutes, or makes its folders among whatever else lies there."""
    there = next(path for path in (place, *place.parents) if os.path.lexists(path))
    problem = ""
    if there != place and not there.is_dir():
        problem = f"{there} is no folder"
    elif not os.access(there, os.W_OK | (os.X_OK if there.is_dir() else 0)):
        problem = f"{there} may not be written; give this user the right to"
    elif there == place and is_folder:
        others = not place.is_dir() or (any(place.iterdir()) and not any(place.glob("*/meta.yaml")))
        problem = f"{place} holds other things than an MLflow store; name a folder that is new or empty" * others
    elif there == place and place.is_dir():
        problem = f"{place} is a folder, expected a file of SQLite"
    elif there == place:
        with place.open("rb") as stream:
            broken = stream.read(len(_SQLITE)) not in (b"", _SQLITE)
        problem = f"{place} is no file of SQLite; name a new one" * broken
    if problem:
        raise TrackingError(f"run.tracking_uri={shown}: {problem}")


def _experiment(client: MlflowClient, name: str, address: str, shown: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None and scheme_of(address) in DATABASES:
        raise TrackingError(
            f"run.tracking_uri={shown}: there is no experiment {name!r}, and a database does not say where files of "
            f"its runs are to lie; make it first: mlflow experiments create -n {name} -l FOLDER"
        )
    if found is None:
        place = _local_file(address) if scheme_of(address) == "sqlite" else None
        return client.create_experiment(name, None if place is None else (place.parent / ARTIFACTS).as_uri())
    if found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"run.tracking_uri={shown}: the experiment {name!r} was deleted there; restore it (mlflow experiments "
            f"restore -x {found.experiment_id}), or name another run.tracking_experiment"
        )
    return str(found.experiment_id)
