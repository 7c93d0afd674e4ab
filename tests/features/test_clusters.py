from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from m3csr_tf.errors import ConfigError
from m3csr_tf.features import clusters as module
from m3csr_tf.features.clusters import Clusters

# Two clear groups in visual, split otherwise in acoustic; the last item lacks acoustic, the one before it both.
VISUAL = np.array([[0, 0], [0, 1], [9, 9], [9, 8], [0, 0], [9, 9]], np.float32)
ACOUSTIC = np.array([[5], [-5], [5], [-5], [0], [0]], np.float32)
SCALED = {"visual": VISUAL, "acoustic": ACOUSTIC}
PRESENT = {"visual": np.array([1, 1, 1, 1, 0, 1], bool), "acoustic": np.array([1, 1, 1, 1, 0, 0], bool)}
ALL = np.ones(6, bool)


def test_joint_clusters_give_an_item_one_id_for_all_its_modalities() -> None:
    ids = Clusters.fit("joint", 4, SCALED, PRESENT, ALL).assign(SCALED, PRESENT)
    assert_array_equal(ids[:4, 0], ids[:4, 1])
    assert len(set(ids[:4, 0])) == 4


def test_per_modality_clusters_group_each_modality_on_its_own() -> None:
    ids = Clusters.fit("per_modality", 2, SCALED, PRESENT, ALL).assign(SCALED, PRESENT)
    visual, acoustic = ids[:4].T
    assert visual[0] == visual[1] != visual[2] == visual[3]
    assert acoustic[0] == acoustic[2] != acoustic[1] == acoustic[3]


@pytest.mark.parametrize("kind", ["joint", "per_modality"])
def test_an_absent_modality_has_id_zero_and_others_count_from_one(kind: str) -> None:
    clusters = Clusters.fit(kind, 2, SCALED, PRESENT, ALL)
    ids = clusters.assign(SCALED, PRESENT)
    assert ids.dtype == np.int32
    assert_array_equal(ids == 0, ~np.stack([PRESENT["visual"], PRESENT["acoustic"]], axis=1))
    assert set(ids[ids > 0]) <= {1, 2}
    assert clusters.counts == {"visual": 2, "acoustic": 2}


def test_the_nearest_centre_is_assigned_with_absent_modalities_as_zeros() -> None:
    # Joint centres (0, 0 | 5) and (9, 9 | -5). Item 0 at (9, 9 | absent) is 25 = (0 - 5)^2 from the second, and
    # 162 + 25 from the first; item 1 at (absent | 5) is at the first.
    centres = {"visual": np.array([[0, 0], [9, 9]], np.float32), "acoustic": np.array([[5], [-5]], np.float32)}
    scaled = {"visual": np.array([[9, 9], [0, 0]], np.float32), "acoustic": np.array([[0], [5]], np.float32)}
    present = {"visual": np.array([True, False]), "acoustic": np.array([False, True])}
    assert_array_equal(Clusters("joint", centres).assign(scaled, present), [[2, 0], [0, 1]])


def test_items_outside_the_rows_do_not_move_the_centres() -> None:
    moved = {"visual": VISUAL.copy(), "acoustic": ACOUSTIC}
    moved["visual"][3] = 1000
    rows = np.array([1, 1, 1, 0, 1, 1], bool)
    before, after = (Clusters.fit("joint", 2, scaled, PRESENT, rows) for scaled in (SCALED, moved))
    assert_array_equal(before.centres["visual"], after.centres["visual"])


def test_the_same_seed_gives_the_same_centres() -> None:
    vectors = {"visual": np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)}
    present = {"visual": np.ones(200, bool)}
    first, second = (Clusters.fit("joint", 5, vectors, present, np.ones(200, bool), seed=3) for _ in range(2))
    assert_array_equal(first.centres["visual"], second.centres["visual"])


def test_more_clusters_than_items_are_refused() -> None:
    # Five items have some content, four have an acoustic vector.
    with pytest.raises(ConfigError, match=r"clusters\.count=6 .* 5 items"):
        Clusters.fit("joint", 6, SCALED, PRESENT, ALL)
    with pytest.raises(ConfigError, match=r"clusters\.count=5 .* 4 items that have acoustic"):
        Clusters.fit("per_modality", 5, SCALED, PRESENT, ALL)


def test_of_many_items_a_draw_is_clustered_and_all_are_assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    group = random.integers(0, 2, 5000)
    scaled = {"visual": (group[:, None] * 9 + random.standard_normal((5000, 2))).astype(np.float32)}
    present = {"visual": np.ones(5000, bool)}
    monkeypatch.setattr(module, "FITTED_ROWS", 600)
    drawn = Clusters.fit("joint", 2, scaled, present, present["visual"], seed=1)
    again = Clusters.fit("joint", 2, scaled, present, present["visual"], seed=1)
    assert_array_equal(drawn.centres["visual"], again.centres["visual"])
    other = Clusters.fit("joint", 2, scaled, present, present["visual"], seed=2)
    assert (drawn.centres["visual"] != other.centres["visual"]).any()
    ids = drawn.assign(scaled, present)[:, 0]
    assert len(set(ids[group == 0])) == 1 and set(ids[group == 0]) != set(ids[group == 1])


def test_the_draw_has_256_items_for_each_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FITTED_ROWS", 1)
    vectors = {"visual": np.zeros((600, 1), np.float32)}
    vectors["visual"][:256] = 1
    seen = []
    monkeypatch.setattr(module, "_k_means", lambda vectors, *others: seen.append(len(vectors)) or vectors[:2])
    Clusters.fit("per_modality", 2, vectors, {"visual": np.ones(600, bool)}, np.ones(600, bool))
    assert seen == [512]


@pytest.mark.parametrize("kind", ["joint", "per_modality"])
def test_the_digest_changes_with_kind_modality_and_centres_alone(kind: str, tmp_path: Path) -> None:
    clusters = Clusters.fit(kind, 2, SCALED, PRESENT, ALL)
    clusters.save(tmp_path / "centres.npz")
    assert Clusters.load(tmp_path / "centres.npz").digest == clusters.digest
    centres = clusters.centres
    moved = {**centres, "acoustic": np.nextafter(centres["acoustic"], np.float32(9))}
    renamed = {"visual": centres["visual"], "textual": centres["acoustic"]}
    other = "joint" if kind == "per_modality" else "per_modality"
    digests = {Clusters(kind, moved).digest, Clusters(kind, renamed).digest, Clusters(other, centres).digest}
    assert len(digests | {clusters.digest}) == 4


def test_saved_clusters_assign_the_same(tmp_path: Path) -> None:
    clusters = Clusters.fit("per_modality", 2, SCALED, PRESENT, ALL)
    clusters.save(tmp_path / "centres.npz")
    loaded = Clusters.load(tmp_path / "centres.npz")
    assert loaded.kind == "per_modality" and list(loaded.centres) == ["visual", "acoustic"]
    assert_array_equal(loaded.assign(SCALED, PRESENT), clusters.assign(SCALED, PRESENT))
