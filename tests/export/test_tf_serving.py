"""The files to run TF Serving with: what it reads in them, and that they point at the release."""

from __future__ import annotations

import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from m3csr_tf import columns
from m3csr_tf.export import tf_serving
from m3csr_tf.export.requests import user_requests


@pytest.fixture
def folder(release: Any, tmp_path: Path) -> Path:
    """A release that was moved to another place and renamed."""
    return Path(shutil.copytree(release.folder, tmp_path / "renamed"))


def service(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / tf_serving.COMPOSE).read_text())["services"]["towers"]


def flags(folder: Path) -> dict[str, str]:
    return dict(flag.removeprefix("--").split("=", 1) for flag in service(folder)["command"])


def outside(folder: Path, path: str) -> Path:
    """Where a path of the container lies on the host, by the compose file's mount."""
    [volume] = service(folder)["volumes"]
    source, target, mode = volume.split(":")
    assert mode == "ro"
    return folder / source / PurePosixPath(path).relative_to(target)


def test_models_config_pins_both_towers_to_the_versions_given() -> None:
    config = text_format.Parse(tf_serving.models_config([3, 4]), ModelServerConfig())
    models = {model.name: model for model in config.model_config_list.config}
    assert set(models) == {columns.ITEM_TOWER, columns.USER_TOWER}
    for model in models.values():
        assert model.model_platform == "tensorflow"
        assert list(model.model_version_policy.specific.versions) == [3, 4]


def test_every_path_that_tf_serving_is_given_is_in_the_folder(folder: Path) -> None:
    given = flags(folder)
    for flag in ("model_config_file", "batching_parameters_file"):
        assert outside(folder, given[flag]).is_file()
    config = text_format.Parse(outside(folder, given["model_config_file"]).read_text(), ModelServerConfig())
    for model in config.model_config_list.config:
        for version in model.model_version_policy.specific.versions:
            assert (outside(folder, model.base_path) / str(version) / "saved_model.pb").is_file()


def test_the_server_follows_the_models_config_and_batches(folder: Path) -> None:
    given = flags(folder)
    assert int(given["model_config_file_poll_wait_seconds"]) > 0
    assert given["enable_batching"] == "true"
    assert service(folder)["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]


def test_the_batching_config_is_what_tf_serving_reads() -> None:
    # The message of session_bundle_config.proto, which tensorflow-serving-api does not ship.
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    message = file.message_type.add(name="BatchingParameters")
    field = descriptor_pb2.FieldDescriptorProto
    for number, name in enumerate(
        ["max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"], start=1
    ):
        message.field.add(
            name=name,
            number=number,
            label=field.LABEL_OPTIONAL,
            type=field.TYPE_MESSAGE,
            type_name=".google.protobuf.Int64Value",
        )
    message.field.add(name="pad_variable_length_inputs", number=7, label=field.LABEL_OPTIONAL, type=field.TYPE_BOOL)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    parameters = message_factory.GetMessageClass(pool.FindMessageTypeByName("BatchingParameters"))()
    text_format.Parse(tf_serving.batching_config(), parameters)
    assert parameters.max_batch_size.value == tf_serving.MAX_BATCH
    assert parameters.num_batch_threads.value > 0
    assert parameters.max_enqueued_batches.value > 0
    assert parameters.pad_variable_length_inputs


def test_what_an_operator_changed_stays(folder: Path) -> None:
    for name in (tf_serving.BATCHING_CONFIG, tf_serving.COMPOSE):
        (folder / name).write_text("tuned")
    tf_serving.write(folder, [1, 2])
    assert (folder / tf_serving.COMPOSE).read_text() == (folder / tf_serving.BATCHING_CONFIG).read_text() == "tuned"
    config = text_format.Parse((folder / tf_serving.MODELS_CONFIG).read_text(), ModelServerConfig())
    assert {tuple(model.model_version_policy.specific.versions) for model in config.model_config_list.config} == {
        (1, 2)
    }


@pytest.mark.parametrize(
    ("states", "healthy"),
    [
        ({"item_tower": "AVAILABLE", "user_tower": "AVAILABLE"}, True),
        ({"item_tower": "AVAILABLE", "user_tower": "LOADING"}, False),
        ({"item_tower": "LOADING", "user_tower": "AVAILABLE"}, False),
        ({}, False),
    ],
)
def test_the_health_check_wants_both_towers(folder: Path, states: dict[str, str], healthy: bool) -> None:
    class Status(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state = states.get(self.path.removeprefix("/v1/models/"))
            body = f'{{"model_version_status": [{{"state": "{state}"}}]}}'.encode()
            self.send_response(200 if state else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    [kind, *command] = service(folder)["healthcheck"]["test"]
    assert kind == "CMD"
    with HTTPServer(("localhost", 0), Status) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # Compose reads $$ as $.
        command = [word.replace("$$", "$").replace("/8501", f"/{server.server_port}") for word in command]
        done = subprocess.run(command, check=False, capture_output=True)
        server.shutdown()
    assert (done.returncode == 0) is healthy


def test_requests_merged_as_tf_serving_merges_them_have_the_answers_of_each_alone(release: Any) -> None:
    import tensorflow as tf

    from m3csr_tf.export.towers import known_items

    folder = release.path(columns.USER_TOWER)
    known = known_items(folder)
    rng = np.random.default_rng(0)

    class Fresh:
        def holds(self, ids: np.ndarray) -> np.ndarray:
            return np.array([one.startswith("new") for one in ids], dtype=bool)

        def content(self, ids: np.ndarray) -> dict[str, np.ndarray]:
            return {name: np.full([len(ids), width], 0.5, np.float32) for name, width in release.modalities.items()}

    def padded(values: np.ndarray, slots: int) -> np.ndarray:
        """As batching_util.cc does: at the end, with the first entry of the request."""
        if values.ndim < 2:
            return values
        width = [(0, 0), (0, slots - values.shape[1]), *[(0, 0)] * (values.ndim - 2)]
        return np.pad(values, width, constant_values=values.flat[0])

    signatures = tf.saved_model.load(str(folder)).signatures
    for extra in ([], ["new"]):
        histories = [[*rng.choice(known, length), *extra] for length in (0, 1, 5, 3)]
        made = [
            request
            for history in histories
            for request in user_requests(
                pd.DataFrame({columns.USER_ID: ["u"], columns.HISTORY: pd.Series([history], dtype=object)}),
                known,
                6,
                Fresh(),
                batch=9,
                content_bytes=1 << 20,
            )
        ]
        [signature] = {request.signature for request in made}
        slots = max(request.inputs[columns.HISTORY].shape[1] for request in made)
        merged = {
            name: np.concatenate([padded(request.inputs[name], slots) for request in made]) for name in made[0].inputs
        }

        def answer(inputs: dict[str, np.ndarray], signature: str = signature) -> np.ndarray:
            tensors = {name: tf.constant(x, tf.string if x.dtype == object else None) for name, x in inputs.items()}
            return signatures[signature](**tensors)[columns.USER_VECTOR].numpy()

        alone = np.concatenate([answer(request.inputs) for request in made])
        np.testing.assert_allclose(answer(merged), alone, atol=1e-6)
        assert len({line.tobytes() for line in alone}) == len(histories)
