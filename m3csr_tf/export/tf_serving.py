"""The files beside a release with which an unmodified TF Serving serves its folder, wherever the folder lies.

`models.config` is rewritten whenever another version becomes current, and the server reads it again every few seconds.
`batching.config` and `compose.yaml` are written once, and may then be changed by the operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from m3csr_tf import columns
from m3csr_tf.util.files import regular, write_text

MODELS_CONFIG = "models.config"
BATCHING_CONFIG = "batching.config"
COMPOSE = "compose.yaml"
IMAGE = "tensorflow/serving:2.20.0"
PLACE = "/models/release"
"""Path of the release's folder as the server sees it."""
TOWERS = (columns.ITEM_TOWER, columns.USER_TOWER)
MAX_BATCH = 512
"""Largest number of rows of a request; a batching TF Serving refuses longer ones."""
POLL_SECONDS = 5
ONLINE_PORT = 8600
INBOX = "/inbox"
"""Path of the follower's inbox as it sees it."""

_HEALTHY = (
    f"for tower in {' '.join(TOWERS)}; do "
    "exec 3<>/dev/tcp/localhost/8501 && "
    "printf 'GET /v1/models/%s HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' $$tower >&3 && "
    "timeout 5 grep -q AVAILABLE <&3 || exit 1; done"
)
"""Shell command of the health check. The image has bash but no curl, and compose reads $$ as one $."""


def write(folder: Path, versions: Sequence[int]) -> None:
    """Writes `models.config` for these versions, and the other two files if they are missing.

    Args:
      folder: `saved_models/<name>`.
      versions: the versions to load: the current one, and any that clients may still ask for.
    """
    for name, text in ((BATCHING_CONFIG, batching_config()), (COMPOSE, compose())):
        if not (folder / name).exists():
            write_text(folder / name, text)
    write_text(folder / MODELS_CONFIG, models_config(versions))


def pinned(folder: Path) -> list[int]:
    """Returns the versions that `models.config` names; none if it is missing or broken."""
    try:
        config = text_format.Parse(regular(folder / MODELS_CONFIG).read_text(encoding="utf-8"), ModelServerConfig())
    except (OSError, ValueError, text_format.ParseError):
        return []
    policies = (model.model_version_policy.specific.versions for model in config.model_config_list.config)
    return sorted({version for versions in policies for version in versions})


def models_config(versions: Sequence[int]) -> str:
    """Returns TF Serving's `--model_config_file` for both towers, pinned to `versions`."""
    config = ModelServerConfig()
    for tower in TOWERS:
        model = config.model_config_list.config.add(
            name=tower, base_path=f"{PLACE}/{tower}", model_platform="tensorflow"
        )
        model.model_version_policy.specific.versions.extend(versions)
    versions_text = ", ".join(map(str, versions))
    return f"# Generated for version {versions_text}; base_path is the towers' place as the server sees it.\n" + (
        text_format.MessageToString(config)
    )


def batching_config() -> str:
    """Returns TF Serving's `--batching_parameters_file`.

    Histories of different lengths can share a batch because the client begins each with an empty slot, and TF Serving
    pads an input with its own first entry. allowed_batch_sizes is not set: the number of distinct items of a batch
    varies anyway, so padding the number of users would not make shapes repeat.
    """
    return (
        "# Tune to the machine: num_batch_threads about its cores; a longer timeout makes larger batches.\n"
        f"max_batch_size {{ value: {MAX_BATCH} }}\n"
        "batch_timeout_micros { value: 1000 }\n"
        "max_enqueued_batches { value: 100 }\n"
        "num_batch_threads { value: 8 }\n"
        "pad_variable_length_inputs: true\n"
    )


def compose() -> str:
    """Returns a compose file that serves its own folder to this machine alone: gRPC on port 8500, REST on port 8501.

    Its profile `service` adds the online service, on port 8600, and the process that takes in refreshed items.
    """
    towers = {
        "image": IMAGE,
        "volumes": [f".:{PLACE}:ro"],
        "command": [
            f"--model_config_file={PLACE}/{MODELS_CONFIG}",
            f"--model_config_file_poll_wait_seconds={POLL_SECONDS}",
            "--enable_batching=true",
            f"--batching_parameters_file={PLACE}/{BATCHING_CONFIG}",
        ],
        "ports": ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"],
        "healthcheck": {
            "test": ["CMD", "bash", "-c", _HEALTHY],
            "interval": "10s",
            "timeout": "15s",
            "retries": 3,
            "start_period": "60s",
        },
        "restart": "unless-stopped",
    }
    return (
        "# `docker compose up` in this folder runs TF Serving on the release, for this machine alone: the server asks\n"
        "# nobody who they are. docs/serving.md says what to do before other machines reach it. With the profile\n"
        "# `service` the online service runs too, and what arrives in M3CSR_INBOX is taken in (docs/service.md).\n"
    ) + yaml.safe_dump({"services": {"towers": towers, **_online()}}, sort_keys=False, width=200)


def _online() -> dict[str, Any]:
    """The online service and the process that follows an inbox, in an image with this package."""
    path = PurePosixPath(PLACE)
    settings = [f"run.release_folder={path.parent}", f"run.release_name={path.name}"]
    both = {"image": "${M3CSR_IMAGE:-m3csr_tf}", "profiles": ["service"], "restart": "unless-stopped"}
    return {
        "service": {
            **both,
            "volumes": [f".:{PLACE}:ro"],
            # All addresses of the container; only this machine reaches its port.
            "command": ["m3csr", "serve", *settings, "service.host=0.0.0.0", f"service.port={ONLINE_PORT}"],
            "ports": [f"127.0.0.1:{ONLINE_PORT}:{ONLINE_PORT}"],
            "stop_grace_period": "1m",
        },
        "follower": {
            **both,
            "volumes": [f".:{PLACE}", f"${{M3CSR_INBOX:-../inbox}}:{INBOX}"],
            "command": ["m3csr", "refresh", "--follow", INBOX, *settings],
        },
    }
