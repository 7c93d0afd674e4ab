"""Section `run`: the name of a run, its folder, and what it runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from m3csr_tf.config.section import LARGEST_SEED, Section
from m3csr_tf.util.hidden import address_shown
from m3csr_tf.util.names import Name
from m3csr_tf.util.quoting import quoted

LOCAL_STORES = ("", "file", "sqlite")
"""Schemes of MLflow stores on this machine: a folder, with "file:" or without, and a file of SQLite."""
WEB_STORES = ("http", "https")
"""Schemes of MLflow's tracking servers."""
DATABASES = ("postgresql", "mysql", "mssql")
"""Schemes of databases on servers, perhaps with the driver behind a plus sign."""
_EXPECTED = "expected sqlite:///FILE, a folder, http(s)://HOST, or postgresql://, mysql:// or mssql:// and the rest"


def scheme_of(address: str) -> str:
    """The scheme of an MLflow store without the driver of a database; "" for a path."""
    scheme, colon, _ = address.partition("://" if "://" in address else ":")
    return scheme.lower().partition("+")[0] if colon and "/" not in scheme else ""


def _store(address: str) -> str:
    shown = f"run.tracking_uri={quoted(address_shown(address))}"
    scheme = scheme_of(address)
    if not address.strip() or address != address.strip() or not address.isprintable():
        raise ValueError(f"{shown}: {_EXPECTED}, without spaces around it")
    if scheme not in (*LOCAL_STORES, *WEB_STORES, *DATABASES):
        raise ValueError(f"{shown}: MLflow has no store of this kind; {_EXPECTED}")
    if scheme == "sqlite" and (
        not address.startswith("sqlite:///") or address[10:].partition("?")[0] in ("", ":memory:")
    ):
        raise ValueError(f"{shown}: it names no file; expected sqlite:///mlflow.db, or sqlite:////absolute/mlflow.db")
    if scheme in (*WEB_STORES, *DATABASES) and not address.partition("://")[2].strip("/"):
        raise ValueError(f"{shown}: it names no host; {_EXPECTED}")
    return address


class RunConfig(Section):
    """The name of a run, its folder, and what it runs on."""

    name: Name = "run"
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    overwrite: bool = Field(False, description="replace a run of the same name that has another configuration")
    folder: Path = Field(Path("runs"), description="the run lies in <folder>/<name>/")
    release_folder: Path = Field(
        Path("saved_models"), description="its release lies in <release_folder>/<release_name>/"
    )
    release_name: Name | None = Field(
        None, description="the release that it makes a version of; without one, its own, called as the run"
    )
    threads: int = Field(0, ge=0, le=4096, description="threads of TensorFlow's kernels; 0 takes every core")
    deterministic: bool = Field(False, description="TensorFlow's op determinism: the same numbers, bit for bit")
    tracking_uri: Annotated[str, AfterValidator(_store)] | None = Field(
        None,
        description="the MLflow store that the run is logged to: sqlite:///FILE, a folder, or a server's address "
        "(docs/tracking.md)",
    )
    tracking_experiment: str = Field(
        "m3csr_tf", min_length=1, max_length=250, description="the MLflow experiment that the run is logged under"
    )
    strategy: Literal["one_device", "mirrored", "multi_worker"] = Field(
        "one_device",
        description="what shares a training batch: nothing, the GPUs of a machine, the workers of TF_CONFIG "
        "(docs/distributed.md)",
    )
    replicas: int | None = Field(
        None, ge=1, le=1024, description="of run.strategy=mirrored: GPUs, all without a number; or parts of the CPU"
    )
