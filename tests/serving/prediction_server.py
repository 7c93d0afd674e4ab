"""A stand-in for TF Serving: its PredictionService over the SavedModels that a release's models.config names."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from m3csr_tf.export.tf_serving import MAX_BATCH, MODELS_CONFIG, PLACE


class PredictionServer(PredictionServiceServicer):
    """Serves a release's folder on a free port; messages over 4 MB are refused, as by any gRPC server.

    Attributes:
      address: host:port.
      models: (name, version) -> what is loaded.
      requests: all that came, in order.
      before: called before each request is answered.
    """

    def __init__(self, folder: Path, credentials: grpc.ServerCredentials | None = None) -> None:
        self.folder = folder
        self.models: dict[tuple[str, int], Any] = {}
        self.requests: list[PredictRequest] = []
        self.before: Callable[[], None] = lambda: None
        self.reload()
        self._server = grpc.server(ThreadPoolExecutor(2))
        add_PredictionServiceServicer_to_server(self, self._server)
        if credentials is None:
            port = self._server.add_insecure_port("localhost:0")
        else:
            port = self._server.add_secure_port("localhost:0", credentials)
        self.address = f"localhost:{port}"
        self._server.start()

    def reload(self) -> None:
        """Loads and unloads versions until they are those of models.config."""
        config = text_format.Parse((self.folder / MODELS_CONFIG).read_text(), ModelServerConfig())
        wanted = {
            (model.name, version): self.folder / Path(model.base_path).relative_to(PLACE) / str(version)
            for model in config.model_config_list.config
            for version in model.model_version_policy.specific.versions
        }
        loaded = {key: self.models.get(key) or tf.saved_model.load(str(path)) for key, path in wanted.items()}
        self.models = loaded

    def stop(self) -> None:
        self._server.stop(None).wait()

    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:
        self.requests.append(request)
        self.before()
        name, version = request.model_spec.name, request.model_spec.version.value
        if (name, version) not in self.models:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Specific({name}, {version})")
        inputs = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        if max(len(value) for value in inputs.values()) > MAX_BATCH:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Task size is larger than maximum batch size")
        response = PredictResponse()
        response.model_spec.CopyFrom(request.model_spec)
        try:
            answers = self.models[name, version].signatures[request.model_spec.signature_name](**inputs)
        except (KeyError, TypeError, ValueError, tf.errors.OpError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error).splitlines()[0])
        for key, value in answers.items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
        return response
