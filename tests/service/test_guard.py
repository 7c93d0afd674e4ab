"""Token, time limit, readiness, metrics and logs of the service; no id is in a log line unless it is asked for."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from m3csr_tf.errors import ConfigError
from m3csr_tf.releases.release import Release
from m3csr_tf.service.bearer_token import read_token

URL = "/v1/recommend"
TOKEN = "0123456789abcdef0123456789abcdef"
ONE = {"users": [{"user_id": "somebody secret", "history": ["no such item"]}], "n": 3}


def test_before_the_release_is_open_the_process_is_alive_and_not_ready(serve: Any, run: Any) -> None:
    async def ask() -> list[httpx.Response]:
        async with serve(None) as client:
            asked = [client.get("/healthz"), client.get("/readyz"), client.post(URL, json=ONE), client.get("/metrics")]
            return await asyncio.gather(*asked)

    alive, ready, lists, metrics = run(ask())
    assert [answer.status_code for answer in (alive, ready, lists, metrics)] == [200, 503, 503, 200]
    assert lists.json() == {"error": "the release is being opened"} and lists.headers["retry-after"] == "1"


def test_with_a_token_only_probes_go_without_it(serve: Any, run: Any) -> None:
    async def ask() -> dict[str, int]:
        async with serve(None, token=TOKEN) as client:
            statuses = {}
            for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/explain", "/nowhere"):
                statuses[path] = (await client.get(path)).status_code
            given = {"right": f"Bearer {TOKEN}", "wrong": f"Bearer {TOKEN[:-1]}", "other": f"Basic {TOKEN}", "none": ""}
            for name, header in given.items():
                answer = await client.get("/metrics", headers={"Authorization": header})
                statuses[name] = answer.status_code
                if answer.status_code == 401:
                    assert answer.headers["www-authenticate"] == "Bearer" and "Bearer TOKEN" in answer.json()["error"]
            return statuses

    assert run(ask()) == {
        "/healthz": 200,
        "/readyz": 503,
        "/metrics": 401,
        "/openapi.json": 401,
        "/v1/explain": 401,
        "/nowhere": 401,
        "right": 200,
        "wrong": 401,
        "other": 401,
        "none": 401,
    }


def test_unknown_routes_and_methods_are_errors_as_json(serve: Any, run: Any) -> None:
    async def ask() -> list[httpx.Response]:
        async with serve(None) as client:
            return [await client.get("/nowhere"), await client.get(URL)]

    nowhere, method = run(ask())
    assert (nowhere.status_code, nowhere.json()) == (404, {"error": "Not Found"})
    assert (method.status_code, method.json()) == (405, {"error": "Method Not Allowed"})


def test_metrics_count_requests_by_route_and_status(release: Release, serve: Any, run: Any) -> None:
    async def ask() -> str:
        async with serve(release) as client:
            await client.post(URL, json=ONE)
            await client.post(URL, json={})
            await client.get("/a/path/with/somebody")
            return (await client.get("/metrics")).text

    text = run(ask())
    for line in (
        'm3csr_requests_total{route="/v1/recommend",status="200"} 1.0',
        'm3csr_requests_total{route="/v1/recommend",status="422"} 1.0',
        'm3csr_requests_total{route="other",status="404"} 1.0',
        "m3csr_unknown_ids_total 1.0",
        "m3csr_release_version 1.0",
        "m3csr_items 120.0",
    ):
        assert line in text.splitlines()
    assert "process_resident_memory_bytes" in text and "somebody" not in text


@pytest.mark.parametrize("log", ["errors", "requests", "ids"])
def test_ids_are_in_log_lines_only_where_it_is_asked_for(
    log: str, release: Release, serve: Any, run: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "m3csr_tf.service")

    async def ask() -> httpx.Response:
        async with serve(release, service={"log": log}) as client:
            assert (await client.post(URL, json=ONE)).status_code == 200
            client.state.opened.retriever.recommend = None
            client.state.opened.batcher._compute = failing
            return await client.post(URL, json=ONE)

    def failing(queries: Any) -> Any:
        raise KeyError("somebody secret")

    answer = run(ask())
    assert answer.status_code == 500 and "secret" not in answer.text
    said = [record.getMessage() for record in caplog.records if record.name == "m3csr_tf.service"]
    assert any("KeyError" in line for line in said)
    assert any(line.startswith("POST /v1/recommend 200") for line in said) == (log != "errors")
    assert any("secret" in line for line in said) == (log == "ids")


def test_a_request_that_takes_too_long_is_given_up_and_too_many_are_refused(
    release: Release, serve: Any, run: Any
) -> None:
    allowed = threading.Event()

    async def ask() -> list[httpx.Response]:
        limits = {"timeout_s": 0.5, "max_waiting": 2, "batch_wait_ms": 0}
        async with serve(release, service=limits) as client:
            batcher = client.state.opened.batcher

            def slow(queries: Any) -> Any:
                assert allowed.wait(120)
                return [[] for _ in queries]

            batcher._compute = slow
            first = asyncio.create_task(client.post(URL, json=ONE))
            while not batcher.waiting and batcher._arrived.is_set() is False and not first.done():
                await asyncio.sleep(0.005)
            more = [asyncio.create_task(client.post(URL, json=ONE)) for _ in range(6)]
            try:
                return await asyncio.gather(first, *more)
            finally:
                allowed.set()

    answers = run(ask())
    assert {answer.status_code for answer in answers} == {503, 504}
    for answer in answers:
        said = "too many requests wait" if answer.status_code == 503 else "no answer within 0.5 s"
        assert said in answer.json()["error"]


def test_a_request_without_a_body_that_takes_too_long_has_arrived(release: Release, serve: Any, run: Any) -> None:
    allowed = threading.Event()

    async def ask() -> httpx.Response:
        async with serve(release, service={"timeout_s": 0.2}) as client:
            client.state.opened.retriever.explain = lambda *asked: allowed.wait(120)
            try:
                return await client.get("/v1/explain", params={"user_id": "u", "item_id": "v"})
            finally:
                allowed.set()

    answer = run(ask())
    assert answer.status_code == 504 and "no answer within 0.2 s" in answer.json()["error"]


@pytest.mark.parametrize("text", ["", "short", "two words of some length", "\xe9" * 20])
def test_a_token_file_must_hold_one_long_token(text: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"service\.token_file"):
        read_token(tmp_path / "token")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(tmp_path / "nowhere")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(tmp_path / "token") == TOKEN and read_token(None) is None
