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

CASES = int(os.environ.get("M3CSR_FUZZ_CASES", "12"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


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


@pytest.fixture(scope="module")
def openapi(url: str) -> Any:
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


@schemathesis.pytest.from_fixture("openapi").parametrize()
@hypothesis.settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    derandomize=CASES < 100,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_every_answer_is_one_that_the_openapi_describes(case: Any) -> None:
    case.call_and_validate(checks=CHECKS, timeout=120)
