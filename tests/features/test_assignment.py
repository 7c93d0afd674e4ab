from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from m3csr_tf.features import assignment
from m3csr_tf.features.assignment import assign_clusters
from m3csr_tf.features.clusters import Clusters
from m3csr_tf.features.content import ContentScaler

CHUNK = 2300
COUNT = 3 * CHUNK + 300


@pytest.fixture(scope="module")
def content() -> dict[str, np.ndarray]:
    """Far from zero and unevenly spread, with a dimension that never varies; some items lack a modality or both."""
    random = np.random.default_rng(0)
    content = {
        name: (random.standard_normal((COUNT, width)) * np.arange(1, width + 1) + 20).astype(np.float32)
        for name, width in (("visual", 12), ("acoustic", 5))
    }
    content["visual"][:, 3] = 7
    content["visual"][::7] = np.nan
    content["acoustic"][::5] = np.nan
    return content


def fitted(content: dict[str, np.ndarray], scaling: str, kind: str) -> tuple[ContentScaler, Clusters, np.ndarray]:
    """Transformations, and the ids by the two steps that are folded in the streamed assignment."""
    scaler = ContentScaler.fit(scaling, content, np.arange(0, COUNT, 2), components=4)
    scaled = {name: scaler.transform(name, raw) for name, raw in content.items()}
    present = {name: ~np.isnan(raw).any(axis=1) for name, raw in content.items()}
    clusters = Clusters.fit(kind, 9, scaled, present, np.ones(COUNT, bool), max_iterations=5)
    return scaler, clusters, clusters.assign(scaled, present)


@pytest.mark.parametrize("kind", ["joint", "per_modality"])
@pytest.mark.parametrize("scaling", ["none", "rms", "standard", "l2", "standard_l2", "whitened"])
def test_streamed_ids_are_those_of_scaling_and_then_assigning(
    scaling: str, kind: str, content: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assignment, "_CHUNK", CHUNK)  # More than a block, and not a whole number of them.
    scaler, clusters, expected = fitted(content, scaling, kind)
    ids = assign_clusters(scaler, clusters, content)
    assert ids.dtype == np.int32
    assert_array_equal(ids, expected)


@pytest.mark.parametrize("scaling", ["standard", "standard_l2", "whitened"])
def test_an_item_at_the_mean_lies_at_zero_and_goes_to_the_shortest_centre(scaling: str) -> None:
    content = {"visual": np.array([[1, 2], [3, 6], [2, 4]], np.float32)}
    scaler = ContentScaler.fit(scaling, content, np.array([0, 1]), components=1)
    width = scaler.width("visual")
    clusters = Clusters("joint", {"visual": np.array([[3] * width, [1] * width, [-2] * width], np.float32)})
    assert assign_clusters(scaler, clusters, content)[2] == 2


def test_vectors_too_short_for_their_squares_are_zeros_as_in_scaling() -> None:
    content = {"visual": np.array([[1e-30, 0], [0, 1]], np.float32)}
    scaler = ContentScaler.fit("l2", content, np.arange(2))
    clusters = Clusters("per_modality", {"visual": np.array([[2, 0], [0, 1]], np.float32)})
    assert assign_clusters(scaler, clusters, content)[:, 0].tolist() == [2, 2]


def test_content_on_the_disk_is_assigned_without_staying_in_memory(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((100_000, 128), dtype=np.float32)
    np.save(tmp_path / "visual.npy", vectors)
    scaler = ContentScaler.fit("standard", {"visual": vectors}, np.arange(1000))
    clusters = Clusters("per_modality", {"visual": vectors[:20]})
    expected = assign_clusters(scaler, clusters, {"visual": vectors})
    calls: list[tuple[int, int | None]] = []
    mapped = np.load(tmp_path / "visual.npy", mmap_mode="r")
    before = resident_files()
    ids = assign_clusters(scaler, clusters, {"visual": mapped[2:]}, lambda *done: calls.append(done))
    assert_array_equal(ids, expected[2:])
    assert max(calls) == (len(ids), len(ids))
    assert resident_files() - before < 10e6  # The file has 51 MB.


def resident_files() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("RssFile:")[2].split()[0]) * 1024
