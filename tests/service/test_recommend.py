"""The service's lists are those of the batch job, whatever shares a batch, and what is malformed is one clear error."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from m3csr_tf import columns
from m3csr_tf.batch.retrieval import retrieve
from m3csr_tf.batch.users import FileOfUsers
from m3csr_tf.config import RetrieveConfig
from m3csr_tf.releases.refresh import refresh
from m3csr_tf.releases.release import Release, open_release
from m3csr_tf.service import retriever as retriever_module

URL = "/v1/recommend"


@pytest.fixture(scope="module")
def users(untrained_run: Any) -> pd.DataFrame:
    """Users: known and unknown, with and without histories, unknown items among them."""
    items = untrained_run.prepared.items.known
    rng = np.random.default_rng(0)
    names = [*untrained_run.prepared.users.known[:6], *(f"stranger {number}" for number in range(6))]
    histories = [[*rng.choice(items, rng.integers(0, 9), replace=False)] for _ in names]
    histories[3].append("no such item")
    histories[7] = []
    exclusions = [[*rng.choice(items, rng.integers(0, 5), replace=False)] for _ in names]
    lists = {columns.HISTORY: histories, columns.EXCLUSIONS: exclusions}
    return pd.DataFrame({columns.USER_ID: names, **{name: pd.Series(of, dtype=object) for name, of in lists.items()}})


def queries(users: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {"user_id": row.user_id, "history": list(row.history), "exclude": list(row.exclusions)}
        for row in users.itertuples()
    ]


def batch_lists(release: Release, users: pd.DataFrame, place: Path, **settings: Any) -> pd.DataFrame:
    users.to_parquet(place / "users.parquet")
    config = RetrieveConfig(**settings)
    done = retrieve(release, FileOfUsers(place / "users.parquet"), place / "lists", config)
    return pd.read_parquet(done.folder)


def as_frame(answer: dict[str, Any]) -> pd.DataFrame:
    """The answer as the batch job writes it."""
    rows = [
        {
            columns.USER_ID: user["user_id"],
            columns.RANK: rank,
            columns.ITEM_ID: item["item_id"],
            columns.SCORE: item["score"],
            columns.MODEL_VERSION: answer["version"],
            **{columns.part_column(part): value for part, value in item["parts"].items()},
        }
        for user in answer["users"]
        for rank, item in enumerate(user["items"], 1)
    ]
    return pd.DataFrame(rows)


def assert_same(answer: dict[str, Any], lists: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(as_frame(answer), lists, check_dtype=False, atol=1e-5)


@pytest.mark.parametrize(
    ("asked", "settings"),
    [
        ({}, {"top_n": 20}),
        ({"n": 7}, {"top_n": 7}),
        ({"only": "cold", "n": 5}, {"only": "cold", "top_n": 5}),
        ({"cold_quota": 0.5, "n": 9}, {"cold_quota": 0.5, "top_n": 9}),
        ({"n": 500}, {"top_n": 500}),
    ],
    ids=["default", "short", "cold", "quota", "longer than the catalogue"],
)
def test_the_lists_are_those_of_the_batch_job(
    asked: dict[str, Any],
    settings: dict[str, Any],
    release: Release,
    users: pd.DataFrame,
    serve: Any,
    run: Any,
    tmp_path: Path,
) -> None:
    async def ask() -> dict[str, Any]:
        async with serve(release) as client:
            answer = await client.post(URL, json={"users": queries(users), "parts": True, **asked})
            assert answer.status_code == 200, answer.text
            return answer.json()

    assert_same(run(ask()), batch_lists(release, users, tmp_path, **settings))


def test_block_and_allow_of_the_batch_job_hold_for_the_service(
    release: Release, users: pd.DataFrame, serve: Any, run: Any, tmp_path: Path
) -> None:
    ids = release.index.ids
    (tmp_path / "block.txt").write_text("\n".join(ids[:30]))
    (tmp_path / "allow.txt").write_text("\n".join(ids[:90]))
    settings = {"block": tmp_path / "block.txt", "allow": tmp_path / "allow.txt", "top_n": 8}

    async def ask() -> dict[str, Any]:
        async with serve(release, retrieve=settings) as client:
            return (await client.post(URL, json={"users": queries(users), "parts": True})).json()

    answer = run(ask())
    assert {item["item_id"] for user in answer["users"] for item in user["items"]} <= set(ids[30:90])
    assert_same(answer, batch_lists(release, users, tmp_path, **settings))


def test_what_shares_a_batch_changes_no_list(release: Release, users: pd.DataFrame, serve: Any, run: Any) -> None:
    asked = [{"n": 3 + number, "cold_quota": 0.3 * (number % 2)} for number in range(12)]

    async def ask() -> tuple[list[Any], list[Any], int]:
        batches = []
        async with serve(release, service={"batch_wait_ms": 50}) as client:
            batcher = client.state.opened.batcher
            batcher._observe = batches.append
            alone = [
                (await client.post(URL, json={"users": [user], **how})).json()
                for user, how in zip(queries(users), asked, strict=True)
            ]
            batches.clear()
            together = await asyncio.gather(
                *(
                    client.post(URL, json={"users": [user], **how})
                    for user, how in zip(queries(users), asked, strict=True)
                )
            )
            return alone, [answer.json() for answer in together], max(batches)

    alone, together, largest = run(ask())
    assert largest > 1
    for one, other in zip(alone, together, strict=True):
        items, others = one["users"][0]["items"], other["users"][0]["items"]
        assert [item["item_id"] for item in items] == [item["item_id"] for item in others]
        np.testing.assert_allclose([item["score"] for item in items], [item["score"] for item in others], atol=1e-5)


def test_unknown_ids_are_ordinary_and_counted(release: Release, users: pd.DataFrame, serve: Any, run: Any) -> None:
    async def ask() -> dict[str, Any]:
        async with serve(release) as client:
            return (await client.post(URL, json={"users": queries(users)})).json()

    answer = run(ask())
    assert [user["known"] for user in answer["users"]] == [True] * 6 + [False] * 6
    assert [user["unknown_ids"] for user in answer["users"]] == [0, 0, 0, 1] + [0] * 8
    assert all(len(user["items"]) == 20 for user in answer["users"])


def test_content_of_fresh_items_in_a_history_counts_as_if_they_had_been_refreshed(
    live: Release, serve: Any, run: Any
) -> None:
    rng = np.random.default_rng(1)
    content = {name: rng.normal(size=width).round(3).tolist() for name, width in live.modalities.items()}
    plain = {"user_id": "somebody", "history": [*live.index.ids[:2], "fresh"]}
    given = {**plain, "content": {"fresh": content}}
    other = {**plain, "content": {"fresh": {"visual": [-one for one in content["visual"]]}}}

    async def ask(release: Release, *users: dict[str, Any]) -> list[Any]:
        async with serve(release) as client:
            answer = await client.post(URL, json={"users": list(users), "n": 120})
            assert answer.status_code == 200, answer.text
            return answer.json()["users"]

    without, with_content, with_other = run(ask(open_release(live.folder), plain, given, other))
    assert [one["unknown_ids"] for one in (without, with_content, with_other)] == [1, 0, 0]
    frame = pd.DataFrame({columns.ITEM_ID: ["fresh"]})
    refresh(live, frame, {name: np.array([vector], np.float32) for name, vector in content.items()})
    [refreshed] = run(ask(live, plain))
    scores = {item["item_id"]: item["score"] for item in refreshed["items"]}
    for item in with_content["items"]:
        assert item["score"] == pytest.approx(scores[item["item_id"]], abs=1e-4)
    # The content of one user is not that of another in the same batch, even under the same id.
    assert len({str(one["items"][:5]) for one in (without, with_content, with_other)}) == 3


def test_what_is_refreshed_is_listed_and_what_is_removed_is_not(live: Release, serve: Any, run: Any) -> None:
    gone = str(live.index.ids[0])
    rng = np.random.default_rng(2)
    content = {name: rng.normal(size=(1, width)).astype(np.float32) for name, width in live.modalities.items()}

    async def ask() -> tuple[list[Any], list[Any], Any]:
        async with serve(open_release(live.folder)) as client:
            asked = {"users": [{"user_id": "somebody"}], "n": 1000, "only": "cold"}
            before = (await client.post(URL, json=asked)).json()
            refresh(live, pd.DataFrame({columns.ITEM_ID: ["fresh"]}), content)
            refresh(live, removed=[gone], source="a test")
            retriever = client.state.opened.retriever
            await retriever.catch_up()
            after = (await client.post(URL, json=asked)).json()
            everything = (await client.post(URL, json={**asked, "only": "all"})).json()
            ready = (await client.get("/readyz")).json()
            return before, after, (everything, ready)

    before, after, (everything, ready) = run(ask())
    ids = [{item["item_id"] for item in answer["users"][0]["items"]} for answer in (before, after, everything)]
    assert "fresh" not in ids[0] and "fresh" in ids[1] and "fresh" in ids[2]
    assert gone not in ids[2] and len(ids[2]) == 120
    assert (before["position"], after["position"], ready["position"], ready["items"]) == (0, 2, 2, 120)


def test_lists_are_made_while_a_refresh_is_taken_in_by_steps(
    live: Release, serve: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retriever_module, "STEP", 1)
    rng = np.random.default_rng(2)
    ids = [f"fresh {number}" for number in range(30)]
    content = {name: rng.normal(size=(30, width)).astype(np.float32) for name, width in live.modalities.items()}
    gone = {str(item) for item in live.index.ids[:5]}

    async def ask() -> list[dict[str, Any]]:
        async with serve(open_release(live.folder)) as client:
            asked = {"users": [{"user_id": "somebody"}], "n": 1000}
            answers = [(await client.post(URL, json=asked)).json()]
            refresh(live, pd.DataFrame({columns.ITEM_ID: ids}), content, removed=gone)
            catching_up = asyncio.create_task(client.state.opened.retriever.catch_up())
            while not catching_up.done():
                answers.append((await client.post(URL, json=asked)).json())
            assert catching_up.result() == 35
            answers.append((await client.post(URL, json=asked)).json())
            return answers

    answers = run(ask())
    lists = [[item["item_id"] for item in answer["users"][0]["items"]] for answer in answers]
    assert [answers[0]["position"], answers[-1]["position"]] == [0, 1]
    assert gone <= set(lists[0]) and not gone & set(lists[-1])
    assert not set(ids) & set(lists[0]) and set(ids) <= set(lists[-1])
    # Some lists came in between, with a part of what is fresh, and none has an item twice or lacks one that stays.
    fresh = [len(set(ids) & set(one)) for one in lists]
    assert fresh == sorted(fresh) and any(0 < count < 30 for count in fresh)
    assert all(len(set(one)) == len(one) and set(lists[0]) - gone <= set(one) for one in lists)


def test_the_position_of_an_answer_is_that_of_its_lists_even_if_items_change_before_it_is_sent(
    live: Release, serve: Any, run: Any
) -> None:
    rng = np.random.default_rng(2)
    content = {name: rng.normal(size=(1, width)).astype(np.float32) for name, width in live.modalities.items()}

    async def ask() -> list[Any]:
        async with serve(open_release(live.folder)) as client:
            opened = client.state.opened
            searched = opened.batcher._compute
            assert opened.retriever.position == 0

            def changing(queries: Any) -> Any:
                """The whole refresh is taken in after the search, and before anybody sees its lists."""
                found = searched(queries)
                opened.retriever.release.catch_up()
                return found

            refresh(live, pd.DataFrame({columns.ITEM_ID: ["fresh"]}), content)
            opened.batcher._compute = changing
            asked = {"users": [{"user_id": "somebody"}], "n": 1000}
            return [(await client.post(URL, json=asked)).json() for _ in range(2)]

    answers = run(ask())
    listed = ["fresh" in {item["item_id"] for item in answer["users"][0]["items"]} for answer in answers]
    assert [answer["position"] for answer in answers] == [0, 1] and listed == [False, True]


ONE = {"user_id": "u"}
MISUSE = {
    "a number in words": ({"users": [ONE], "n": "3"}, 422, "n: Input should be a valid integer; got '3'"),
    "a number that is true": ({"users": [ONE], "n": True}, 422, "n: Input should be a valid integer; got True"),
    "a quota in words": ({"users": [ONE], "cold_quota": "0.5"}, 422, "cold_quota: Input should be a valid number"),
    "no JSON": (b"{", 400, "the body is not JSON"),
    "a key twice": (b'{"users": [], "users": [{"user_id": "u"}]}', 400, "key 'users' is there twice"),
    "NaN": (b'{"users": [{"user_id": "u"}], "cold_quota": NaN}', 400, "NaN is no number of JSON"),
    "no users": ({"users": []}, 422, "users: List should have at least 1 item"),
    "too many users": ({"users": [ONE] * 4}, 422, "users: List should have at most 3 items"),
    "an unknown field": ({"users": [ONE], "top_n": 3}, 422, "top_n: Extra inputs are not permitted; got 3"),
    "an unknown field of a user": ({"users": [{**ONE, "hist": []}]}, 422, "users.0.hist: Extra inputs"),
    "an id that is a number": ({"users": [{"user_id": 7}]}, 422, "users.0.user_id: Input should be a valid string"),
    "an empty id": ({"users": [{"user_id": ""}]}, 422, "users.0.user_id: String should have at least 1 character"),
    "half a surrogate pair": (b'{"users": [{"user_id": "\\ud800"}]}', 422, "users.0.user_id"),
    "a history that is no list": ({"users": [{**ONE, "history": "v1"}]}, 422, "users.0.history"),
    "a long history": ({"users": [{**ONE, "history": ["v1"] * 6}]}, 422, "at most 5 items"),
    "a list that is too long": ({"users": [ONE], "n": 51}, 422, "n: Input should be less than or equal to 50; got 51"),
    "no length": ({"users": [ONE], "n": 0}, 422, "n: Input should be greater than or equal to 1; got 0"),
    "a quota beyond 1": ({"users": [ONE], "cold_quota": 2}, 422, "cold_quota: Input should be less than or equal to 1"),
    "another filter": ({"users": [ONE], "only": "warm"}, 422, "only: Input should be 'all' or 'cold'; got 'warm'"),
    "content of another item": (
        {"users": [{**ONE, "content": {"v9": {"visual": [0.0] * 12}}}]},
        422,
        "content has item 'v9', which is not in the history",
    ),
    "content of another width": (
        {"users": [{**ONE, "history": ["f"], "content": {"f": {"visual": [1.0]}}}]},
        422,
        "content of item 'f': visual has 1 numbers, the item tower takes 12",
    ),
    "content of another modality": (
        {"users": [{**ONE, "history": ["f"], "content": {"f": {"smell": [1.0]}}}]},
        422,
        "unknown modality 'smell'; the release has visual, acoustic",
    ),
    "content without a vector": (
        {"users": [{**ONE, "history": ["f"], "content": {"f": {"visual": None}}}]},
        422,
        "content of item 'f': has no vector",
    ),
    "content beyond float32": (
        {"users": [{**ONE, "history": ["f"], "content": {"f": {"visual": [1e39] * 12}}}]},
        422,
        "Input should be less than or equal to 1000000000000",
    ),
    "a body that is too large": (b" " * 5000, 413, "the body is larger than 4,096 bytes"),
}


def test_what_is_malformed_is_one_error_that_says_what_is_wrong(release: Release, serve: Any, run: Any) -> None:
    limits = {"max_users": 3, "max_n": 50, "max_ids": 5, "max_body_bytes": 4096}

    async def ask() -> dict[str, Any]:
        async with serve(release, service=limits) as client:
            found = {}
            for what, (body, _, _) in MISUSE.items():
                content = {"content": body} if isinstance(body, bytes) else {"json": body}
                found[what] = await client.post(URL, headers={"content-type": "application/json"}, **content)
            assert (await client.post(URL, json={"users": [ONE]})).status_code == 200
            return found

    for what, answer in run(ask()).items():
        _, status, message = MISUSE[what]
        assert answer.status_code == status, (what, answer.text)
        assert list(answer.json()) == ["error"] and message in answer.json()["error"], (what, answer.text)


def test_filters_that_leave_nothing_are_said(live: Release, serve: Any, run: Any) -> None:
    cold = live.index.ids[live.items.is_cold(live.index.ids)]
    refresh(live, removed=list(cold), source="a test")

    async def ask() -> Any:
        async with serve(live) as client:
            return await client.post(URL, json={"users": [ONE], "only": "cold"})

    answer = run(ask())
    assert answer.status_code == 409
    assert "retrieve.only=cold: none of the" in answer.json()["error"]


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"content-type": "application/x-www-form-urlencoded"}, "Content-Type is 'application/x-www-form-urlencoded'"),
        ({}, "there is no header Content-Type"),
    ],
    ids=["that of a form, as curl sends", "none"],
)
def test_a_query_without_the_header_of_json_is_told_so(
    headers: dict[str, str], said: str, release: Release, serve: Any, run: Any
) -> None:
    async def ask() -> Any:
        async with serve(release) as client:
            return await client.post(URL, content=json.dumps({"users": [ONE]}), headers=headers)

    answer = run(ask())
    assert answer.status_code == 422 and said in answer.json()["error"]
    assert "expected application/json" in answer.json()["error"]
