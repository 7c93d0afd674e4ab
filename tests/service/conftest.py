"""What tests of the service share: clients that ask it without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import httpx
import pytest
from applications import application

from m3csr_tf.releases.release import Release

T = TypeVar("T")


@pytest.fixture
def serve() -> Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]:
    """`async with serve(release, service={...}) as client:` asks an application over a release."""

    @asynccontextmanager
    async def serving(release: Release | None, **how: Any) -> AsyncIterator[httpx.AsyncClient]:
        async with application(release, **how) as (app, state):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                client.state = state  # type: ignore[attr-defined]
                yield client

    return serving


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, T]], T]:
    """Runs a coroutine to its end, within two minutes."""

    def until_done(work: Coroutine[Any, Any, T]) -> T:
        async def limited() -> T:
            async with asyncio.timeout(120):
                return await work

        return asyncio.run(limited())

    return until_done
