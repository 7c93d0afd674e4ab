"""The client's vectors are those of the release in process, of one version, or a clear error."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pytest
from prediction_server import PredictionServer

from m3csr_tf import columns
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.errors import ServingError
from m3csr_tf.export import tf_serving
from m3csr_tf.export.towers import SavedUserTower
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.releases.publish import publish
from m3csr_tf.releases.release import Release, open_release
from m3csr_tf.serving import client as clients
from m3csr_tf.serving.client import TowersClient


@pytest.fixture
def folder(release: Release, tmp_path: Path) -> Path:
    """A copy of the release."""
    return Path(shutil.copytree(release.folder, tmp_path / "small"))


@pytest.fixture
def server(folder: Path) -> Iterator[PredictionServer]:
    running = PredictionServer(folder)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def two_versions(release: Release, make_run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of version 1, and 2 with other weights, which is current."""
    place = tmp_path_factory.mktemp("two")
    shutil.copytree(release.folder, place / "small")
    run = {"name": "small", "folder": place / "runs", "release_folder": place}
    publish(make_run(place / "data", seed=1, run=run), 2)
    return place / "small"


@pytest.fixture
def crossing(two_versions: Path, tmp_path: Path) -> tuple[Path, Callable[[int], None]]:
    """A copy of both versions, and what makes one of them current; now it is 1, and 1 alone is served."""
    copy = Path(shutil.copytree(two_versions, tmp_path / "small"))

    def make_current(version: int) -> None:
        temporary = copy / "next.json"
        shutil.copy(copy / "index" / str(version) / "release.json", temporary)
        temporary.replace(copy / columns.MANIFEST)

    make_current(1)
    tf_serving.write(copy, [1])
    return copy, make_current


def users(known: np.ndarray, count: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    histories = [[*rng.choice(known, rng.integers(0, 9)), "unknown"] for _ in range(count)]
    names = [f"u{number}" for number in range(count)]
    return pd.DataFrame({columns.USER_ID: names, columns.HISTORY: pd.Series(histories, dtype=object)})


def catalogue(prepared: Any) -> Catalogue:
    ids = prepared.items.known
    frame = pd.DataFrame({columns.ITEM_ID: ids, columns.VIEW_COUNT: np.arange(-1, len(ids) - 1)})
    return Catalogue(frame, {name: raw[FIRST_ROW:] for name, raw in prepared.content.items()})


class Fresh:
    """Content of items that no training has seen."""

    def __init__(self, modalities: dict[str, int]) -> None:
        rng = np.random.default_rng(1)
        self.vectors = {name: rng.normal(size=(9, width)).astype(np.float32) for name, width in modalities.items()}

    def holds(self, ids: np.ndarray) -> np.ndarray:
        return np.array([one.startswith("new") for one in ids], dtype=bool)

    def content(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        rows = [int(one.removeprefix("new")) for one in ids]
        return {name: vectors[rows] for name, vectors in self.vectors.items()}


def in_process(folder: Path, version: int, frame: pd.DataFrame, items: Any = None) -> np.ndarray:
    manifest = json.loads((folder / "index" / str(version) / "release.json").read_text())
    return SavedUserTower(folder / columns.USER_TOWER / str(version), manifest["history_length"]).vectors(frame, items)


def test_vectors_are_those_of_the_release_in_process(
    server: PredictionServer, release: Release, untrained_run: Any
) -> None:
    frame, items = users(untrained_run.prepared.items.known), catalogue(untrained_run.prepared)
    with TowersClient(server.address, server.folder) as client:
        of_users, of_items = client.user_vectors(frame), client.item_vectors(items)
        assert client.version == 1
    assert of_users.dtype == of_items.dtype == np.float32
    np.testing.assert_allclose(of_users, in_process(server.folder, 1, frame), atol=1e-5)
    np.testing.assert_allclose(of_items, release.item_vectors(items), atol=1e-5)
    assert {request.model_spec.version.value for request in server.requests} == {1}


def test_fresh_items_of_a_history_count_with_their_content(
    server: PredictionServer, release: Release, untrained_run: Any
) -> None:
    frame = users(untrained_run.prepared.items.known)
    frame[columns.HISTORY] = [[*past, f"new{row}"] if row % 2 else past for row, past in enumerate(frame["history"])]
    fresh = Fresh(release.modalities)
    with TowersClient(server.address, server.folder) as client:
        vectors = client.user_vectors(frame, fresh)
    np.testing.assert_allclose(vectors, in_process(server.folder, 1, frame, fresh), atol=1e-5)
    changed = np.abs(vectors - in_process(server.folder, 1, frame)).max(axis=1) > 1e-3
    assert changed.tolist() == [False, True, False, True, False]
    signatures = [request.model_spec.signature_name for request in server.requests]
    assert sorted(signatures) == [columns.SERVING_DEFAULT, columns.WITH_CONTENT]


def test_nothing_asked_is_nothing_sent(server: PredictionServer, release: Release, untrained_run: Any) -> None:
    none = Catalogue(
        pd.DataFrame({columns.ITEM_ID: pd.Series(dtype=object), columns.VIEW_COUNT: pd.Series(dtype=np.int64)}),
        {name: np.zeros([0, width], np.float32) for name, width in release.modalities.items()},
    )
    with TowersClient(server.address, server.folder) as client:
        assert client.user_vectors(users(np.array(["a"]), 0)).shape == (0, release.index.width)
        assert client.item_vectors(none).shape == (0, release.index.width)
    assert server.requests == []


def test_many_rows_and_long_ids_are_split_below_the_limits_of_the_server(
    server: PredictionServer, untrained_run: Any
) -> None:
    # 600 users of 20 kB: more than the rows of one batch, and 512 of them are 10 MB; the server takes 4 MB.
    frame = users(untrained_run.prepared.items.known, 600)
    frame[columns.USER_ID] = [f"{number:020000d}" for number in range(600)]
    with TowersClient(server.address, server.folder) as client:
        vectors = client.user_vectors(frame)
    np.testing.assert_allclose(vectors, in_process(server.folder, 1, frame), atol=1e-5)
    assert max(request.ByteSize() for request in server.requests) <= 4 << 20
    assert len(server.requests) == 5  # 512 in quarters of 2.5 MB, and 88 of 1.8 MB.


def test_wide_content_is_split_too(
    server: PredictionServer, untrained_run: Any, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "CONTENT_BYTES", 30 * 4 * sum(release.modalities.values()))
    items = catalogue(untrained_run.prepared)
    with TowersClient(server.address, server.folder) as client:
        np.testing.assert_allclose(client.item_vectors(items), release.item_vectors(items), atol=1e-5)
    sizes = [request.inputs[columns.ITEM_ID].tensor_shape.dim[0].size for request in server.requests]
    assert max(sizes) == 30 and sum(sizes) == len(items.frame)


def test_a_client_crosses_a_publish_with_the_manifest_and_a_pinned_one_stays(
    crossing: tuple[Path, Callable[[int], None]], untrained_run: Any
) -> None:
    folder, make_current = crossing
    frame = users(untrained_run.prepared.items.known)
    first, second = (in_process(folder, version, frame) for version in (1, 2))
    assert np.abs(first - second).max() > 1e-2
    server = PredictionServer(folder)
    pinned = TowersClient(server.address, open_release(folder), timeout=0.3)
    following = TowersClient(server.address, folder)
    np.testing.assert_allclose(following.user_vectors(frame), first, atol=1e-5)

    make_current(2)
    tf_serving.write(folder, [1, 2])
    late = threading.Timer(0.3, server.reload)  # The server reads its configuration a little later.
    late.start()
    np.testing.assert_allclose(following.user_vectors(frame), second, atol=1e-5)
    late.join()
    assert following.version == 2
    np.testing.assert_allclose(pinned.user_vectors(frame), first, atol=1e-5)

    tf_serving.write(folder, [2])
    server.reload()
    with pytest.raises(ServingError, match=r"user_tower version 1 is not served .*models\.config"):
        pinned.user_vectors(frame)
    server.stop()


def test_what_a_publish_leaves_serves_the_new_version_and_the_one_before(
    two_versions: Path, untrained_run: Any
) -> None:
    frame = users(untrained_run.prepared.items.known)
    server = PredictionServer(two_versions)
    for version in (1, 2):
        with TowersClient(server.address, open_release(two_versions, version)) as client:
            np.testing.assert_allclose(client.user_vectors(frame), in_process(two_versions, version, frame), atol=1e-5)
    with TowersClient(server.address, two_versions) as client:
        assert client.version == 2
    server.stop()


def test_a_version_that_the_server_never_loads_is_one_clear_error(
    crossing: tuple[Path, Callable[[int], None]], untrained_run: Any
) -> None:
    folder, make_current = crossing
    server = PredictionServer(folder)
    make_current(2)
    with (
        TowersClient(server.address, folder, timeout=0.4) as client,
        pytest.raises(
            ServingError, match=rf"{server.address}: item_tower version 2 is not served \(Servable not found"
        ),
    ):
        client.item_vectors(catalogue(untrained_run.prepared))
    assert len(server.requests) > 1
    server.stop()


def test_a_call_whose_version_vanishes_is_answered_by_the_next_one_as_a_whole(
    crossing: tuple[Path, Callable[[int], None]], untrained_run: Any
) -> None:
    folder, make_current = crossing
    server = PredictionServer(folder)
    frame = users(untrained_run.prepared.items.known, 600)  # Two requests.
    client = TowersClient(server.address, folder)

    def switch() -> None:
        if len(server.requests) == 2:
            make_current(2)
            tf_serving.write(folder, [2])
            server.reload()

    server.before = switch
    np.testing.assert_allclose(client.user_vectors(frame), in_process(folder, 2, frame), atol=1e-5)
    assert [request.model_spec.version.value for request in server.requests] == [1, 1, 2, 2]
    server.stop()


def test_a_version_that_was_pruned_is_one_clear_error(folder: Path) -> None:
    release = open_release(folder)
    shutil.rmtree(folder / "user_tower")
    users = pd.DataFrame({columns.USER_ID: ["u"], columns.HISTORY: [["v"]]})
    with TowersClient("localhost:1", release) as client, pytest.raises(ServingError, match="been pruned"):
        client.user_vectors(users)


def test_a_server_that_is_not_there_is_one_clear_error(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    with (
        TowersClient(address, folder, timeout=0.3) as client,
        pytest.raises(ServingError, match="check that TF Serving"),
    ):
        client.user_vectors(users(np.array(["a"])))


def test_a_server_that_is_too_slow_is_one_clear_error(server: PredictionServer) -> None:
    server.before = lambda: time.sleep(1)
    with (
        TowersClient(server.address, server.folder, timeout=0.2) as client,
        pytest.raises(ServingError, match=r"did not answer within 0\.2 s"),
    ):
        client.user_vectors(users(np.array(["a"])))


def test_a_refused_request_says_what_the_server_said(server: PredictionServer, untrained_run: Any) -> None:
    items = catalogue(untrained_run.prepared)
    lacking = Catalogue(items.frame, {"visual": items.content["visual"]})
    with (
        TowersClient(server.address, server.folder) as client,
        pytest.raises(ServingError, match=r"item_tower version 1 refused the request: INVALID_ARGUMENT: .*acoustic"),
    ):
        client.item_vectors(lacking)


def test_vectors_of_another_width_are_of_another_release(server: PredictionServer) -> None:
    import tensorflow as tf

    def narrow(user_id: Any, history: Any) -> dict[str, Any]:
        return {columns.USER_VECTOR: tf.zeros([len(user_id), 3])}

    server.models[columns.USER_TOWER, 1] = SimpleNamespace(signatures={columns.SERVING_DEFAULT: narrow})
    with (
        TowersClient(server.address, server.folder) as client,
        pytest.raises(ServingError, match=r"shape \[5, 3\], expected .* serves another release"),
    ):
        client.user_vectors(users(np.array(["a"])))


def test_credentials_are_used(folder: Path, untrained_run: Any) -> None:
    server = PredictionServer(folder, grpc.local_server_credentials())
    frame = users(untrained_run.prepared.items.known)
    with TowersClient(server.address, folder, credentials=grpc.local_channel_credentials()) as client:
        np.testing.assert_allclose(client.user_vectors(frame), in_process(folder, 1, frame), atol=1e-5)
    server.stop()
