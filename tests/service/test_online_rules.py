"""Caps, near-duplicates and ages online: the lists are those of the batch job, as time passes and items change."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from m3csr_tf import columns
from m3csr_tf.batch.list_rules import ListRules
from m3csr_tf.batch.retrieval import retrieve
from m3csr_tf.batch.users import FileOfUsers
from m3csr_tf.config import ColdConfig, RetrieveConfig, ServiceConfig, SimilarConfig
from m3csr_tf.errors import InputError
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.releases.refresh import refresh
from m3csr_tf.releases.release import Release, open_release
from m3csr_tf.service.neighbours import OnlineNeighbours
from m3csr_tf.service.retriever import Retriever
from m3csr_tf.service.schemas import RecommendQuery
from m3csr_tf.service.selections import MOST_SELECTIONS, Selections, State
from m3csr_tf.service.worker import _Once

URL = "/v1/recommend"
HOUR, DAY = 3600, 86_400
NOW = 1_700_000_000.0 + 15 * DAY
"""The middle of the world's month."""
RULE = ColdConfig(max_age_hours=96, max_views=15)
ONE = {"user_id": "somebody"}


class Clock:
    """What `time.time` shows."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    shown = Clock()
    monkeypatch.setattr(time, "time", shown)
    return shown


@pytest.fixture
def moving(authored: Release, tmp_path: Path) -> Release:
    """A copy of the release that keeps authors, to change."""
    return open_release(Path(shutil.copytree(authored.folder, tmp_path / "moved" / "small")))


@pytest.fixture(scope="module")
def users(authored: Release) -> list[dict[str, Any]]:
    rng = np.random.default_rng(4)
    ids = authored.index.ids
    return [
        {
            "user_id": f"n{number}",
            "history": rng.choice(ids, rng.integers(0, 9), replace=False).tolist(),
            "exclude": rng.choice(ids, rng.integers(0, 5), replace=False).tolist(),
        }
        for number in range(8)
    ]


def items_of(answer: dict[str, Any]) -> list[list[str]]:
    return [[item["item_id"] for item in user["items"]] for user in answer["users"]]


async def asked(client: Any, users: Any = (ONE,), **fields: Any) -> list[list[str]]:
    answer = await client.post(URL, json={"users": list(users), **fields})
    assert answer.status_code == 200, answer.text
    return items_of(answer.json())


def batch_lists(release: Release, users: list[dict[str, Any]], place: Path, **settings: Any) -> list[list[str]]:
    frame = pd.DataFrame(users).rename(columns={"exclude": columns.EXCLUSIONS})
    frame.to_parquet(place / "users.parquet")
    config = RetrieveConfig(**settings)
    done = retrieve(release, FileOfUsers(place / "users.parquet"), place / "lists", config, cold=RULE)
    lists = pd.read_parquet(done.folder)
    return [lists[columns.ITEM_ID][lists[columns.USER_ID] == user["user_id"]].tolist() for user in users]


@pytest.mark.parametrize(
    "fields",
    [
        {"cap": {"author": 2}},
        {"near_duplicates": 0.8},
        {"cap": {"author": 1}, "near_duplicates": 0.8, "only": "cold"},
        {"cap": {"author": 2}, "near_duplicates": 0.8, "cold_quota": 0.5, "max_age_days": 10},
        {"cold_quota": 0.6},
        {"only": "cold"},
        {"max_age_days": 5.5},
    ],
    ids=lambda fields: " ".join(fields),
)
def test_lists_by_rules_and_ages_are_those_of_the_batch_job(
    fields: dict[str, Any],
    authored: Release,
    users: list[dict[str, Any]],
    clock: Clock,
    serve: Any,
    run: Any,
    tmp_path: Path,
) -> None:
    async def ask() -> tuple[list[list[str]], list[list[str]]]:
        async with serve(authored, cold=RULE) as client:
            return await asked(client, users, n=10, **fields), await asked(client, users, n=10)

    found, plain = run(ask())
    assert found != plain
    assert found == batch_lists(authored, users, tmp_path, top_n=10, **fields)


def test_settings_are_the_defaults_and_a_request_may_lift_them(
    authored: Release, users: list[dict[str, Any]], clock: Clock, serve: Any, run: Any
) -> None:
    settings = {"cap": {"author": 1}, "near_duplicates": 0.8, "max_age_days": 10, "top_n": 6}
    lifted: dict[str, Any] = {"cap": {}, "near_duplicates": None, "max_age_days": None}

    async def ask() -> tuple[list[Any], Any]:
        async with serve(authored, retrieve=settings) as client, serve(authored, retrieve={"top_n": 6}) as plain:
            lists = [
                await asked(client, users),
                await asked(plain, users, **{name: settings[name] for name in lifted}),
                await asked(client, users, **lifted),
                await asked(plain, users),
            ]
            return lists, (await client.get("/openapi.json")).json()

    (default, given, without, plain), openapi = run(ask())
    assert default == given != plain == without
    of_query = openapi["components"]["schemas"]["RecommendQuery"]["properties"]
    assert {name: of_query[name]["default"] for name in lifted} == {name: settings[name] for name in lifted}


def test_what_shares_a_batch_changes_no_list_by_rules(
    authored: Release, users: list[dict[str, Any]], serve: Any, run: Any
) -> None:
    fields: list[dict[str, Any]] = [
        {"n": 3 + number, "cap": {"author": 1 + number % 2}} if number % 3 else {"n": 9, "near_duplicates": 0.8}
        for number in range(len(users))
    ]

    async def ask() -> tuple[list[Any], list[Any], int]:
        batches: list[int] = []
        async with serve(authored, service={"batch_wait_ms": 50}) as client:
            pairs = list(zip(users, fields, strict=True))
            alone = [await asked(client, [user], **how) for user, how in pairs]
            client.state.opened.by_rules._observe = batches.append
            together = await asyncio.gather(*(asked(client, [user], **how) for user, how in pairs))
            return alone, list(together), max(batches)

    alone, together, largest = run(ask())
    assert largest > 1 and alone == together


def test_users_without_rules_wait_for_four_users_with_rules_and_not_for_all_of_them(
    authored: Release, users: list[dict[str, Any]], serve: Any, run: Any
) -> None:
    # Eight users in one request, whose lists need the whole catalogue, and one who comes meanwhile.
    begun, allowed = threading.Event(), threading.Event()
    computed: list[list[str]] = []

    async def ask() -> tuple[list[list[str]], list[list[str]]]:
        async with serve(authored) as client:
            opened = client.state.opened
            compute = opened.by_rules._compute

            def slow(queries: Any) -> Any:
                begun.set()
                assert allowed.wait(120)
                computed.append([user.user_id for query in queries for user in query.users])
                return compute(queries)

            opened.batcher._compute = opened.by_rules._compute = slow
            capped = asyncio.create_task(asked(client, users, cap={"author": 1}, n=200))
            while not begun.is_set():
                await asyncio.sleep(0.005)
            queued: list[int] = []
            opened.batcher._observe = queued.append
            plain = asyncio.create_task(asked(client))
            while not queued:
                await asyncio.sleep(0.005)
            allowed.set()
            await plain
            return await capped, await asked(client, users[:1], cap={"author": 1}, n=200)

    together, alone = run(ask())
    names = [user["user_id"] for user in users]
    assert computed[:3] == [names[:4], ["somebody"], names[4:]]
    assert len(together) == 8 and together[:1] == alone


def test_rules_are_made_once_for_the_items_and_again_after_a_refresh(
    moving: Release, monkeypatch: pytest.MonkeyPatch, serve: Any, run: Any
) -> None:
    made: list[tuple[dict[str, int], float | None]] = []
    of = ListRules.of

    def counted(release: Release, caps: Any, near_duplicates: float | None) -> ListRules | None:
        made.append((dict(caps), near_duplicates))
        return of(release, caps, near_duplicates)

    monkeypatch.setattr(ListRules, "of", counted)
    ids = moving.items.ids
    authors = dict(zip(ids, moving.items.values(ids)["author"], strict=True))

    async def ask() -> tuple[list[str], list[str]]:
        async with serve(open_release(moving.folder)) as client:
            for cap in (1, 2, 3):
                [before] = await asked(client, cap={"author": cap}, near_duplicates=1 - cap / 10, n=5)
            [before] = await asked(client, cap={"author": 1}, n=5)
            assert len(made) == 2
            moved = {"author": np.array([authors[before[1]]], dtype=object)}
            refresh(moving, pd.DataFrame({columns.ITEM_ID: before[:1]}), values=moved)
            retriever = client.state.opened.retriever
            await retriever.catch_up()
            for _ in range(3):
                [after] = await asked(client, cap={"author": 1}, n=5)
            return before, after

    before, after = run(ask())
    assert len({authors[item] for item in before}) == 5
    # The best item is now of the second one's author, who has no place left.
    assert after[0] == before[0] and before[1] not in after
    assert [caps for caps, _ in made] == [{"author": 1}, {}, {"author": 1}]


def test_ages_follow_the_clock_in_the_background_and_never_lag_too_far(
    authored: Release, untrained_run: Any, clock: Clock, serve: Any, run: Any
) -> None:
    published = pd.Series(
        untrained_run.prepared.catalogue[columns.PUBLISH_TIME].to_numpy(float), untrained_run.prepared.items.known
    )
    youngest_first = published[published <= NOW].sort_values(ascending=False)
    # In a second, this item will be more than five days old.
    clock.now = float(youngest_first.iloc[5]) + 5 * DAY - 1

    def young() -> set[str]:
        return set(published.index[np.maximum(clock.now - published, 0) <= 5 * DAY])

    async def ask() -> None:
        async with serve(authored, service={"age_lag_s": 100}) as client:

            async def listed() -> set[str]:
                [items] = await asked(client, max_age_days=5, n=200)
                return set(items)

            before = young()
            assert await listed() == before
            clock.now += 40
            assert await listed() == before != young()  # Within half of the lag nothing is made.
            clock.now += 20
            assert await listed() == before  # The older one answers while a newer one is made ...
            await asyncio.gather(*client.state.opened.retriever._builds.values())
            assert await listed() == young()
            clock.now += 3 * DAY
            assert await listed() == young() < before  # ... and beyond the lag, a query waits.
            clock.now -= 2 * DAY
            assert await listed() == young()  # The same holds if the clock is put back.

    run(ask())


def test_quotas_and_cold_items_follow_age_and_views(
    authored: Release, untrained_run: Any, clock: Clock, serve: Any, run: Any
) -> None:
    prepared = untrained_run.prepared
    published = prepared.catalogue[columns.PUBLISH_TIME].to_numpy(float)
    views = prepared.train_clicks[FIRST_ROW:]

    def cold() -> set[str]:
        young = np.maximum(clock.now - published, 0) <= 96 * HOUR
        return {str(item) for item in prepared.items.known[young & (views < 15)]}

    async def ask() -> None:
        async with serve(authored, cold=RULE) as client:
            seen = []
            for _ in range(2):
                [only] = await asked(client, only="cold", n=200)
                [quota] = await asked(client, cold_quota=0.5, n=8)
                assert set(only) == cold() and len(cold() & set(quota)) >= 4
                seen.append(cold())
                clock.now += 2 * DAY
            assert seen[0] != seen[1]

    run(ask())


def test_a_time_that_is_set_is_that_of_all_ages_and_is_said(
    authored: Release,
    users: list[dict[str, Any]],
    serve: Any,
    run: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def ask() -> list[list[str]]:
        async with serve(authored, retrieve={"now": NOW}, cold=RULE) as client:
            return await asked(client, users, n=10, cold_quota=0.5)

    assert run(ask()) == batch_lists(authored, users, tmp_path, top_n=10, cold_quota=0.5, now=NOW)
    assert "retrieve.now is set: ages are taken at 2023-11-29T22:13:20+00:00 and not at the clock" in caplog.text


def test_similar_items_follow_the_clock_too(
    authored: Release, untrained_run: Any, clock: Clock, serve: Any, run: Any
) -> None:
    prepared = untrained_run.prepared
    published = pd.Series(prepared.catalogue[columns.PUBLISH_TIME].to_numpy(float), prepared.items.known)
    query = {"items": [{"item_id": str(authored.index.ids[0])}], "n": 200}

    async def ask() -> None:
        async with serve(authored, similar={"max_age_days": 5}) as client:
            for _ in range(2):
                answer = (await client.post("/v1/similar", json=query)).json()
                young = set(published.index[np.maximum(clock.now - published, 0) <= 5 * DAY])
                assert {item["item_id"] for item in answer["items"][0]["items"]} == young - {
                    query["items"][0]["item_id"]
                }
                clock.now += 3 * DAY
            clock.now += 1000 * DAY
            answer = await client.post("/v1/similar", json=query)
            assert answer.status_code == 409 and "similar.max_age_days=5: none of the" in answer.json()["error"]

    run(ask())


MISUSE: dict[str, tuple[dict[str, Any], int, str]] = {
    "a column that the release lacks": (
        {"cap": {"sound": 2}},
        422,
        "cap names 'sound'; the release, version 1, keeps these columns of the catalogue: author; name one of them",
    ),
    "a column that is nearly named": ({"cap": {"author": 2, "Author": 1}}, 422, "cap names 'Author'"),
    "a cap of nothing": ({"cap": {"author": 0}}, 422, "cap.author: Input should be greater than or equal to 1; got 0"),
    "a cap below nothing": ({"cap": {"author": -1}}, 422, "cap.author: Input should be greater than or equal to 1"),
    "a cap beyond all lists": ({"cap": {"author": 10**6}}, 422, "cap.author: Input should be less than or equal to"),
    "half an item": ({"cap": {"author": 1.5}}, 422, "cap.author: Input should be a valid integer; got 1.5"),
    "a cap in words": ({"cap": {"author": "two"}}, 422, "cap.author: Input should be a valid integer; got 'two'"),
    "a cap that is true": ({"cap": {"author": True}}, 422, "cap.author: Input should be a valid integer"),
    "no cap": ({"cap": {"author": None}}, 422, "cap.author: Input should be a valid integer"),
    "a cap of no column": ({"cap": 2}, 422, "cap: Input should be a valid dictionary; got 2"),
    "columns alone": ({"cap": ["author"]}, 422, "cap: Input should be a valid dictionary"),
    "a column without a name": ({"cap": {"": 2}}, 422, "String should have at least 1 character"),
    "a threshold of 0": ({"near_duplicates": 0}, 422, "near_duplicates: Input should be greater than 0; got 0"),
    "a threshold beyond 1": (
        {"near_duplicates": 1.01},
        422,
        "near_duplicates: Input should be less than or equal to 1",
    ),
    "a threshold in words": ({"near_duplicates": "0.9"}, 422, "near_duplicates: Input should be a valid number"),
    "a threshold that is true": ({"near_duplicates": True}, 422, "near_duplicates: Input should be a valid number"),
    "an age of 0": ({"max_age_days": 0}, 422, "max_age_days: Input should be greater than 0; got 0"),
    "an age beyond all": ({"max_age_days": 10**6}, 422, "max_age_days: Input should be less than or equal to 100000"),
    "an age in words": ({"max_age_days": "30"}, 422, "max_age_days: Input should be a valid number; got '30'"),
    "the setting's name": ({"retrieve.cap": {"author": 2}}, 422, "retrieve.cap: Extra inputs are not permitted"),
    "an age that no item has": ({"max_age_days": 0.0001}, 409, "retrieve.max_age_days=0.0001: none of the 120 items"),
}


def test_rules_that_cannot_be_kept_are_one_error_that_says_what_is_wrong(
    authored: Release, clock: Clock, serve: Any, run: Any
) -> None:
    clock.now += 1000 * DAY

    async def ask() -> dict[str, Any]:
        async with serve(authored) as client:
            found = {
                what: await client.post(URL, json={"users": [ONE], **fields}) for what, (fields, _, _) in MISUSE.items()
            }
            assert (await asked(client, n=3))[0]
            return found

    for what, answer in run(ask()).items():
        _, status, message = MISUSE[what]
        assert answer.status_code == status, (what, answer.text)
        assert list(answer.json()) == ["error"] and message in answer.json()["error"], (what, answer.text)
        assert str(authored.folder) not in answer.text, what


def test_what_a_release_cannot_give_is_refused_at_the_start_or_for_the_request(
    release: Release, live: Release, serve: Any, run: Any
) -> None:
    bare = Release(release.folder, {**release.manifest, "title": "BPR-MF", "layout": {"id": [0, release.width]}})
    live.items._published[:] = np.nan  # As if its catalogue had had no publish times.

    async def ask(of: Release, **fields: Any) -> Any:
        async with serve(of) as client:
            return await client.post(URL, json={"users": [ONE], **fields})

    found = [run(ask(bare, near_duplicates=0.9)), run(ask(live, max_age_days=3)), run(ask(release, cap={"author": 1}))]
    assert [answer.status_code for answer in found] == [422, 409, 422]
    said = [answer.json()["error"] for answer in found]
    assert said[0].startswith("near_duplicates compares content, and BPR-MF keeps content in no part of the vectors of")
    assert "none of the 120 items of version 1 has a publish_time" in said[1]
    assert "keeps these columns of the catalogue: none" in said[2]
    for of, settings, message in (
        (bare, {"near_duplicates": 0.9}, "retrieve.near_duplicates compares content"),
        (release, {"cap": {"author": 1}}, "retrieve.cap names 'author'"),
        (live, {"max_age_days": 3}, "retrieve.max_age_days=3: none of the 120 items"),
    ):
        with pytest.raises(InputError, match=message):
            Retriever(of, RetrieveConfig(**settings))
    retriever = Retriever(live, RetrieveConfig())
    with pytest.raises(InputError, match=r"similar\.max_age_days=3: none of the 120 items"):
        OnlineNeighbours(retriever, SimilarConfig(max_age_days=3), ["vector"])
    retriever.close()


def test_of_many_kinds_of_queries_the_latest_are_kept(authored: Release, clock: Clock) -> None:
    kept = Selections(authored, RetrieveConfig(), ColdConfig(), ServiceConfig().age_lag_s)
    queries = [RecommendQuery(users=[], n=1, max_age_days=5 + days) for days in range(MOST_SELECTIONS + 2)]
    for query in queries:
        [wanted] = kept.wanted(query)
        kept.make(wanted)
        kept.selection(queries[0])  # It is used again and again.
    states = [kept.state(kept.wanted(query)[0]) for query in queries]
    assert states == [State.READY, State.MISSING, State.MISSING] + [State.READY] * (MOST_SELECTIONS - 1)


def test_a_warning_of_filters_is_not_repeated() -> None:
    once = _Once()

    def passes(name: str, message: str) -> bool:
        return bool(once.filter(logging.LogRecord(name, logging.WARNING, "", 0, message, None, None)))

    assert [passes("m3csr_tf.batch.filters", said) for said in ("a", "a", "b")] == [True, False, True]
    assert [passes("m3csr_tf.service", "a") for _ in range(2)] == [True, True]
