"""A client of TF Serving, which returns over gRPC the vectors that the towers of a release return in process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import numpy as np
import pandas as pd
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from m3csr_tf import columns
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.errors import ServingError
from m3csr_tf.export.requests import ContentLookup, Request, UserInputs, item_requests, user_requests
from m3csr_tf.export.tf_serving import MAX_BATCH
from m3csr_tf.export.towers import known_items
from m3csr_tf.releases import manifest as manifests
from m3csr_tf.releases.release import Release

MESSAGE_BYTES = 4 << 20
"""Largest message in bytes that gRPC servers and proxies accept by default."""
CONTENT_BYTES = 3 << 20
FIRST_WAIT, LONGEST_WAIT = 0.05, 2.0
"""Seconds between tries, which double from the first to the longest."""
PASSING = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE}
"""Answers of a server that starts, loads a version, or has a full queue; such a request is tried again."""


class TowersClient(AbstractContextManager["TowersClient"]):
    """A client that asks a TF Serving on a release's folder for vectors.

    Every request names the version that it wants. If the client is given a `Release`, that is always its version, so
    that the vectors fit its index. If it is given a folder, it is the version that the manifest names when a call
    begins, and the whole call is answered by one version. Only one thread may use a client at a time.

    Args:
      address: host:port of the gRPC endpoint.
      release: an opened release, or the folder `saved_models/<name>` to follow.
      timeout: seconds that a request may take, including repeated tries.
      credentials: for TLS, e.g. `grpc.ssl_channel_credentials(ca)`; None for an unencrypted connection.

    Raises:
      ReleaseError: the folder holds no release.
    """

    def __init__(
        self,
        address: str,
        release: Release | Path,
        timeout: float = 10.0,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._address = address
        self._timeout = timeout
        self._manifest = None if isinstance(release, Release) else _Manifest(Path(release))
        self._release = _Served(release.folder, release.manifest) if isinstance(release, Release) else self._now()
        # Large requests are sent in pieces, but an answer is not split, so the limit must not apply to answers.
        options = [("grpc.max_receive_message_length", -1)]
        self._channel = (
            grpc.insecure_channel(address, options)
            if credentials is None
            else grpc.secure_channel(address, credentials, options)
        )
        self._stub = PredictionServiceStub(self._channel)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    @property
    def version(self) -> int:
        """The version that answered last or, before the first call, will answer."""
        return int(self._release.manifest["version"])

    def user_vectors(self, users: pd.DataFrame | UserInputs, items: ContentLookup | None = None) -> np.ndarray:
        """Returns the vectors of users, known or new, float32 [users, D].

        Args:
          users: user_id, and history, a list of item ids, oldest first; see `SavedUserTower.vectors`.
          items: the content of items that are missing from the user tower's table, e.g. `Release.items`; without it,
            such items are skipped.

        Raises:
          ServingError: the server cannot be reached, lacks the version, refuses a request, or takes too long; or the
            version's folder is gone.
          InputError: an id is not a string.
          ReleaseError: the manifest that the client follows is broken.
        """

        def requests(release: _Served) -> Iterable[Request]:
            length = release.manifest["history_length"]
            return user_requests(given, release.known, length, items, batch=MAX_BATCH, content_bytes=CONTENT_BYTES)

        given = UserInputs.of(users)
        return self._vectors(columns.USER_TOWER, columns.USER_VECTOR, requests, len(given))

    def item_vectors(self, catalogue: Catalogue) -> np.ndarray:
        """Returns the vectors of items, known or new, float32 [items, D]; a view count of -1 is unknown.

        Raises:
          ServingError: for the same reasons as in `user_vectors`.
        """

        def requests(release: _Served) -> Iterable[Request]:
            return item_requests(catalogue, batch=MAX_BATCH, content_bytes=CONTENT_BYTES)

        return self._vectors(columns.ITEM_TOWER, columns.ITEM_VECTOR, requests, len(catalogue.frame))

    def _vectors(
        self, tower: str, output: str, requests: Callable[[_Served], Iterable[Request]], count: int
    ) -> np.ndarray:
        while True:
            self._release = release = self._now()
            vectors = np.empty([count, release.width], np.float32)
            try:
                for request in requests(release):
                    if len(request.rows):
                        vectors[request.rows] = self._answer(tower, output, request)
            except _Superseded:
                continue
            return vectors

    def _answer(self, tower: str, output: str, request: Request) -> np.ndarray:
        """Returns the answer to a request, float32 [B, D]; a request too long for a message is sent in pieces."""
        message = PredictRequest()
        message.model_spec.name = tower
        message.model_spec.version.value = self.version
        message.model_spec.signature_name = request.signature
        for name, values in request.inputs.items():
            message.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        count = len(request.rows)
        if message.ByteSize() > MESSAGE_BYTES and count > 1:
            halves = (
                Request(request.signature, request.rows[half], {name: x[half] for name, x in request.inputs.items()})
                for half in (slice(count // 2), slice(count // 2, count))
            )
            return np.concatenate([self._answer(tower, output, half) for half in halves])
        response = self._predict(message)
        vectors = tf.make_ndarray(response.outputs[output]) if output in response.outputs else np.empty(0)
        if vectors.shape != (count, self._release.width):
            raise ServingError(
                f"{self._address}: {tower} version {self.version} answered {output} of shape {list(vectors.shape)}, "
                f"expected {[count, self._release.width]}; it serves another release: mount the folder of this one"
            )
        return vectors

    def _predict(self, message: PredictRequest) -> PredictResponse:
        deadline, wait = time.monotonic() + self._timeout, FIRST_WAIT
        while True:
            try:
                return self._stub.Predict(message, timeout=max(0.0, deadline - time.monotonic()))
            except grpc.RpcError as error:
                left = deadline - time.monotonic()
                if error.code() not in PASSING or left <= 0:
                    raise self._said(message.model_spec.name, error) from None
                if self._manifest is not None and self._now() is not self._release:
                    raise _Superseded from None
                if left < wait:
                    raise self._said(message.model_spec.name, error) from None
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)

    def _said(self, tower: str, error: grpc.RpcError) -> ServingError:
        """Translates a failed call into an error that says what to do."""
        code, details = error.code(), error.details()
        request = f"{self._address}: {tower} version {self.version}"
        if code == grpc.StatusCode.NOT_FOUND:
            return ServingError(
                f"{request} is not served ({details}); check that the server runs on the folder of this release and "
                "follows its models.config, or give it longer to load"
            )
        if code == grpc.StatusCode.UNAVAILABLE:
            return ServingError(
                f"{self._address}: no answer within {self._timeout:g} s ({details}); check that TF Serving runs there "
                "and that this is its gRPC port"
            )
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return ServingError(
                f"{request} did not answer within {self._timeout:g} s; give it longer, or more machines"
            )
        return ServingError(f"{request} refused the request: {code.name}: {details}")

    def _now(self) -> _Served:
        """Returns the version that this client has to ask for now."""
        return self._release if self._manifest is None else self._manifest.now()


class _Superseded(Exception):
    """Raised when the manifest names another version, and the version with which a call began is no longer served."""


class _Served:
    """What the client needs to know of a version."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.width = max(stop for _, stop in manifest["layout"].values())

    @cached_property
    def known(self) -> pd.Index:
        """The item ids of the user tower's table."""
        version = self.manifest["version"]
        try:
            return known_items(manifests.part_folder(self.folder, columns.USER_TOWER, version))
        except OSError as error:
            raise ServingError(
                f"{error.filename}: cannot be read ({error.strerror}); has version {version} been pruned? Open the "
                "release again"
            ) from None


class _Manifest:
    """A release's manifest, which is read again when its file has been replaced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[int, int] | None = None
        self._served: _Served | None = None

    def now(self) -> _Served:
        """Returns the version that the manifest names, as the same object while the manifest does not change."""
        path = self._folder / columns.MANIFEST
        try:
            stat = path.stat()
            seen = (stat.st_ino, stat.st_mtime_ns)
        except OSError:
            seen = None
        if self._served is None or seen is None or seen != self._seen:
            manifest = manifests.read(path)
            if self._served is None or manifest != self._served.manifest:
                self._served = _Served(self._folder, manifest)
            self._seen = seen
        return self._served
