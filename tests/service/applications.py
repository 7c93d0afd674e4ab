"""The service as an application over a release, without processes of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from m3csr_tf.config import ColdConfig, RetrieveConfig, ServiceConfig, SimilarConfig
from m3csr_tf.releases.release import Release
from m3csr_tf.service.app import Opened, State, build_app
from m3csr_tf.service.measures import Measures
from m3csr_tf.service.neighbours import OnlineNeighbours
from m3csr_tf.service.retriever import Retriever


@asynccontextmanager
async def application(
    release: Release | None,
    service: dict[str, Any] | None = None,
    retrieve: dict[str, Any] | None = None,
    similar: dict[str, Any] | None = None,
    token: str | None = None,
    cold: ColdConfig | None = None,
) -> AsyncIterator[tuple[Any, State]]:
    """The service as an ASGI application that answers from a release, and its state."""
    # The first calls of towers take long, and other tests may have the machine busy.
    settings = ServiceConfig(**{"timeout_s": 100, **(service or {})})
    of_lists, of_items = RetrieveConfig(**(retrieve or {})), SimilarConfig(**(similar or {}))
    state = State()
    tasks: list[asyncio.Task[Any]] = []
    if release is not None:
        retriever = Retriever(release, of_lists, cold, service=settings)
        neighbours = OnlineNeighbours(retriever, of_items, settings.similar_by, cold, settings.age_lag_s)
        state.opened = Opened.of(retriever, neighbours, settings)
        tasks += [asyncio.create_task(one.run()) for one in (state.opened.batcher, state.opened.by_rules)]
    try:
        yield build_app(settings, of_lists, of_items, state, Measures(), token), state
    finally:
        for task in tasks:
            task.cancel()
        if state.opened is not None:
            state.opened.retriever.close()
