"""Whatever its OpenAPI allows, and much that it does not, the service answers as its OpenAPI says, and never with 500.

M3CSR_FUZZ_CASES=1000 tries a thousand cases of each route, as the service is fuzzed before a release.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
import uvicorn
from applications import application
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.generation import GenerationMode

CASES = int(os.environ.get("M3CSR_FUZZ_CASES", "12"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ROUTES = {"/v1/recommend", "/v1/similar", "/v1/explain", "/healthz", "/readyz", "/metrics"}


@pytest.fixture(scope="module")
def url(authored: Any) -> Iterator[str]:
    """A service of the release in a thread, on a free port."""
    listening = socket.create_server(("127.0.0.1", 0))
    began, ended = threading.Event(), threading.Event()

    async def serve() -> None:
        async with application(authored, service={"similar_by": ["vector", "visual"], "max_ids": 50}) as (app, _):
            server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", http="httptools"))
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            while not server.started:
                await asyncio.sleep(0.01)
            began.set()
            while not ended.is_set():
                await asyncio.sleep(0.05)
            server.should_exit = True
            await serving

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert began.wait(120)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    ended.set()
    thread.join(120)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "not allowed"])
def test_every_answer_is_one_that_the_openapi_describes(mode: GenerationMode, url: str) -> None:
    openapi = schemathesis.openapi.from_url(f"{url}/openapi.json")
    tried: dict[str, int] = {}
    for found in openapi.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not operation.path.startswith("/v1/"):
            continue  # Without a field there is nothing that could be wrong.

        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        @hypothesis.settings(
            max_examples=CASES // 2,
            deadline=None,
            database=None,
            derandomize=CASES < 100,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        def check(case: Any) -> None:
            tried[case.operation.path] = tried.get(case.operation.path, 0) + 1
            case.call_and_validate(checks=CHECKS, timeout=120)

        check()
    wanted = ROUTES if mode is GenerationMode.POSITIVE else {route for route in ROUTES if route.startswith("/v1/")}
    assert set(tried) == wanted
    # Without fields, there is no more than one case.
    assert all(tried[route] >= CASES // 2 for route in tried if route.startswith("/v1/"))
