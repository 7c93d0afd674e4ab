"""The online service with user vectors of TF Serving gives the lists that it gives with its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from prediction_server import PredictionServer

from m3csr_tf.config import ColdConfig, RetrieveConfig, ServiceConfig
from m3csr_tf.errors import ServingError
from m3csr_tf.releases.release import Release
from m3csr_tf.service.retriever import Retriever, open_retriever
from m3csr_tf.service.schemas import RecommendQuery, UserQuery


def test_lists_of_towers_behind_tf_serving_are_those_of_towers_in_the_process(release: Release, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(release.folder, tmp_path / "small"))
    fresh: dict[str, Any] = {name: [0.5] * width for name, width in release.modalities.items()}
    items = [str(item) for item in release.index.ids[:3]]
    users = [
        UserQuery(user_id="a", history=items),
        UserQuery(user_id="b"),
        UserQuery(user_id="c", history=["fresh"], content={"fresh": fresh}),
    ]
    query = RecommendQuery(users=users, n=10)
    server = PredictionServer(folder)
    try:
        by_tower = ServiceConfig(towers=server.address, timeout_s=60)
        remote = open_retriever(folder, 1, RetrieveConfig(), ColdConfig(), by_tower)
        asked = len(server.requests)
        [found] = remote.recommend([query])
        assert len(server.requests) > asked
    finally:
        server.stop()
    local = Retriever(release, RetrieveConfig())
    [expected] = local.recommend([query])
    assert isinstance(found, dict) and isinstance(expected, dict)
    assert [found["version"], expected["version"]] == [1, release.version]
    for mine, its in zip(found["users"], expected["users"], strict=True):
        assert [item["item_id"] for item in mine["items"]] == [item["item_id"] for item in its["items"]]
        for one, other in zip(mine["items"], its["items"], strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-4)
    with pytest.raises(ServingError, match="check that TF Serving runs there"):
        hasty = ServiceConfig(towers=server.address, timeout_s=0.3)
        open_retriever(folder, 1, RetrieveConfig(), ColdConfig(), hasty)
    for one in (remote, local):
        one.close()
