"""Similar items and explanations online are those of the batch code, and follow what is refreshed."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pandas as pd
import pytest

from m3csr_tf import columns
from m3csr_tf.batch.query_items import QueryItemBatch
from m3csr_tf.batch.similar import SimilarItems
from m3csr_tf.errors import InputError
from m3csr_tf.explain import explain_pair
from m3csr_tf.releases.refresh import refresh
from m3csr_tf.releases.release import Release, open_release

URL = "/v1/similar"
BY = {"similar_by": ["vector", "content", "visual"]}


def expected(release: Release, ids: list[str], by: str, n: int) -> list[list[tuple[str, float]]]:
    finder = SimilarItems(release, by, n)
    lists = finder.table(finder.find(QueryItemBatch(np.array(ids, dtype=object), None))).to_pandas()
    of = {item: part for item, part in lists.groupby(columns.ITEM_ID, sort=False)}
    return [
        [*zip(of[item][columns.SIMILAR_ITEM_ID], of[item][columns.COSINE], strict=True)] if item in of else []
        for item in ids
    ]


@pytest.mark.parametrize("by", BY["similar_by"])
def test_similar_items_are_those_of_the_batch_job(by: str, release: Release, serve: Any, run: Any) -> None:
    ids = [*map(str, release.index.ids[:5]), "no such item"]

    async def ask() -> dict[str, Any]:
        async with serve(release, service=BY) as client:
            return (await client.post(URL, json={"items": [{"item_id": one} for one in ids], "by": by, "n": 7})).json()

    answer = run(ask())
    assert (answer["version"], answer["position"], answer["by"]) == (1, 0, by)
    assert [item["known"] for item in answer["items"]] == [True] * 5 + [False]
    for item, wanted in zip(answer["items"], expected(release, ids, by, 7), strict=True):
        assert [one["item_id"] for one in item["items"]] == [one for one, _ in wanted]
        np.testing.assert_allclose([one["cosine"] for one in item["items"]], [cosine for _, cosine in wanted])
        for one in item["items"]:
            assert sum(one["parts"].values()) == pytest.approx(one["cosine"], abs=1e-5)


def test_content_of_a_video_that_the_release_lacks_finds_those_that_are_like_it(
    release: Release, serve: Any, run: Any
) -> None:
    known = str(next(one for one in release.index.ids if not np.isnan(release.items.content([one])["visual"]).any()))
    content = {name: vectors[0].tolist() for name, vectors in release.items.content(np.array([known])).items()}
    content = {name: None if np.isnan(vector).any() else vector for name, vector in content.items()}

    async def ask() -> Any:
        async with serve(release, service={"similar_by": ["visual"]}) as client:
            asked = [{"item_id": "new", "content": content}, {"item_id": known}]
            good = await client.post(URL, json={"items": asked, "n": 4})
            bad = await client.post(URL, json={"items": [{"item_id": "new", "content": {"visual": [1.0]}}]})
            other = await client.post(URL, json={"items": asked, "by": "vector"})
            return good, bad, other

    good, bad, other = run(ask())
    new, old = good.json()["items"]
    # By the look alone, the same content is the same item, which is in no list of its own.
    assert (new["known"], new["compared"], new["items"][0]["item_id"]) == (False, True, known)
    assert [one["item_id"] for one in new["items"][1:]] == [one["item_id"] for one in old["items"][:3]]
    assert bad.status_code == 422 and "visual has 1 numbers, the item tower takes 12" in bad.json()["error"]
    assert other.status_code == 422 and "by: Input should be 'visual'; got 'vector'" in other.json()["error"]


def test_similar_items_follow_what_is_refreshed(live: Release, serve: Any, run: Any) -> None:
    rng = np.random.default_rng(3)
    content = {name: rng.normal(size=(1, width)).astype(np.float32) for name, width in live.modalities.items()}

    async def ask() -> dict[str, Any]:
        async with serve(open_release(live.folder)) as client:
            asked = {"items": [{"item_id": "fresh"}], "n": 3}
            before = (await client.post(URL, json=asked)).json()
            assert not before["items"][0]["known"]
            refresh(live, pd.DataFrame({columns.ITEM_ID: ["fresh"]}), content)
            retriever = client.state.opened.retriever
            await retriever.catch_up()
            while True:  # Until the finder has been built anew; the test has a deadline.
                answer = (await client.post(URL, json=asked)).json()
                if answer["position"] == 1:
                    return answer

    [item] = run(ask())["items"]
    assert item["known"] and [one["item_id"] for one in item["items"]] == [
        one for one, _ in expected(live, ["fresh"], "vector", 3)[0]
    ]


def test_what_is_open_answers_on_all_routes_after_its_folder_has_gone(live: Release, serve: Any, run: Any) -> None:
    item = str(live.index.ids[0])

    async def ask() -> list[int]:
        async with serve(live) as client:
            opened = client.state.opened
            opened.retriever.warm_up()
            shutil.rmtree(live.folder)
            assert await opened.retriever.catch_up() == 0
            answers = [
                await client.post("/v1/recommend", json={"users": [{"user_id": "u", "history": [item, "strange"]}]}),
                await client.post(URL, json={"items": [{"item_id": item}]}),
                await client.get("/v1/explain", params={"user_id": "u", "item_id": item, "history": [item, "strange"]}),
            ]
            return [answer.status_code for answer in answers]

    assert run(ask()) == [200, 200, 200]


def test_an_explanation_is_that_of_the_verb(release: Release, serve: Any, run: Any) -> None:
    item, *history = map(str, release.index.ids[:4])

    async def ask() -> Any:
        async with serve(release) as client:
            asked = {"user_id": "somebody", "item_id": item, "history": history}
            return [
                await client.get("/v1/explain", params=asked),
                await client.get("/v1/explain", params={**asked, "item_id": "no such item"}),
                await client.get("/v1/explain", params={"user_id": "somebody"}),
            ]

    good, unknown, lacking = run(ask())
    assert good.json() == explain_pair(release, "somebody", item, history).to_json()
    assert (unknown.status_code, unknown.json()["error"]) == (404, "item 'no such item' is not in the release")
    assert (lacking.status_code, lacking.json()["error"]) == (422, "item_id: Field required")


def test_a_comparison_that_the_release_has_nothing_of_is_refused_at_the_start(
    release: Release, serve: Any, run: Any
) -> None:
    async def ask() -> None:
        async with serve(release, service={"similar_by": ["vector", "smell"]}):
            pass

    with pytest.raises(InputError, match=r"similar\.by is 'smell'; the vectors of .* can be compared by vector"):
        run(ask())
