"""Section `run`: the name of a run, its folder, and what it runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from m3csr_tf.config.section import LARGEST_SEED, Section
from m3csr_tf.util.names import Name


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
    strategy: Literal["one_device", "mirrored", "multi_worker"] = Field(
        "one_device",
        description="what shares a training batch: nothing, the GPUs of a machine, the workers of TF_CONFIG "
        "(docs/distributed.md)",
    )
    replicas: int | None = Field(
        None, ge=1, le=1024, description="of run.strategy=mirrored: GPUs, all without a number; or parts of the CPU"
    )
