"""The routes of the service, and its OpenAPI."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException as StarletteHTTPException

from m3csr_tf.config import RetrieveConfig, ServiceConfig, SimilarConfig
from m3csr_tf.errors import InputError, ServingError
from m3csr_tf.service import schemas
from m3csr_tf.service.batching import Batcher, Overloaded
from m3csr_tf.service.guard import HEALTH, READY, Guard
from m3csr_tf.service.measures import Measures
from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.quoting import one_line, quoted

if TYPE_CHECKING:  # These import TensorFlow, which takes seconds in which health can be asked for already.
    from m3csr_tf.service.neighbours import OnlineNeighbours
    from m3csr_tf.service.retriever import Retriever

RECOMMEND, SIMILAR, EXPLAIN, METRICS = "/v1/recommend", "/v1/similar", "/v1/explain", "/metrics"
ROUTES = frozenset({RECOMMEND, SIMILAR, EXPLAIN, METRICS, HEALTH, READY, "/openapi.json"})
_TRIES = 20
"""How often a query is prepared anew because items changed before it was searched."""

RULED_AT_ONCE = 4
"""Users for whom lists by rules are made at once; between two such calls other requests have their turn.

Where rules leave fewer items than are asked for, a user takes as long as dozens of others: 0.1 s of processor time by
caps on 200,000 items.
"""

_Responses = dict[int | str, dict[str, Any]]

DESCRIPTION = (
    "Top-N lists, similar items and explanations of one release, which is always the current version with all that "
    "was refreshed. Ids that are unknown and histories that are empty are ordinary."
)


@dataclass
class Opened:
    """What answers once the release is open.

    Attributes:
      retriever: makes lists.
      neighbours: finds similar items.
      batcher: of queries without caps and near-duplicates.
      by_rules: of those with them, of at most `RULED_AT_ONCE` users.
    """

    retriever: "Retriever"
    neighbours: "OnlineNeighbours"
    batcher: Batcher[schemas.RecommendQuery, dict[str, Any]]
    by_rules: Batcher[schemas.RecommendQuery, dict[str, Any]]

    @classmethod
    def of(
        cls,
        retriever: "Retriever",
        neighbours: "OnlineNeighbours",
        service: ServiceConfig,
        observe: Callable[[int], object] = lambda size: None,
    ) -> "Opened":
        """With batchers of the limits of the settings, which both compute in the retriever's one search thread."""

        def batcher(most: int) -> Batcher[schemas.RecommendQuery, dict[str, Any]]:
            size, wait = (lambda query: len(query.users)), service.batch_wait_ms / 1000
            return Batcher(retriever.recommend, retriever.searching, size, most, wait, service.max_waiting, observe)

        return cls(retriever, neighbours, batcher(service.max_batch), batcher(min(RULED_AT_ONCE, service.max_batch)))


@dataclass
class State:
    """The state of the process: what is opened, if anything is."""

    opened: Opened | None = None

    def require(self) -> Opened:
        """What is opened.

        Raises:
          HTTPException: nothing is.
        """
        if self.opened is None:
            raise HTTPException(503, "the release is being opened", {"Retry-After": "1"})
        return self.opened


class _StrictRequest(Request):
    async def json(self) -> Any:
        """The body as JSON in which no key comes twice."""
        if not hasattr(self, "_strict"):
            try:
                self._strict = parse_json(await self.body())
            except ValueError as error:
                raise HTTPException(400, f"the body is not JSON: {error}") from None
        return self._strict


class _StrictRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Any]:
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return handler


def build_app(
    service: ServiceConfig,
    retrieve: RetrieveConfig,
    similar: SimilarConfig,
    state: State,
    measures: Measures,
    token: str | None = None,
) -> Guard:
    """The service as an ASGI application; it answers 503 until something is opened.

    Args:
      service, retrieve, similar: limits and defaults.
      state: what is opened.
      measures: what is counted.
      token: the bearer token, if there is to be one.
    """
    app = FastAPI(
        title="m3csr_tf",
        description=DESCRIPTION,
        version="1",
        docs_url=None,
        redoc_url=None,
    )
    app.router.route_class = _StrictRoute
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _failed)
    app.add_exception_handler(InputError, _refused)
    app.add_exception_handler(ServingError, _towers_failed)
    app.add_exception_handler(Overloaded, _overloaded)
    problems = _problems(400, 401, 408, 413, 422, 500, 503, 504)

    async def recommend(request: Request, query: Any) -> Response:
        """Top-N lists of one or more users."""
        opened = state.require()
        request.scope["m3csr_ids"] = [user.user_id for user in query.users]
        answer = await _recommended(opened, query)
        measures.unknown_ids.inc(sum(one["unknown_ids"] for one in answer["users"]))
        return _json(answer)

    async def similar_items(request: Request, query: Any) -> Response:
        """The items that are nearest to one or more items."""
        opened = state.require()
        request.scope["m3csr_ids"] = [item.item_id for item in query.items]
        return _json(await opened.neighbours.find(query))

    async def explain(
        request: Request,
        user_id: Annotated[schemas.Id, Query(description="Known to the release or not.", examples=["u0001"])],
        item_id: Annotated[schemas.Id, Query(description="An item of the release.", examples=["v0042"])],
        history: Annotated[
            list[schemas.Id] | None,
            Query(max_length=service.max_ids, description="Items that she clicked, oldest first; may be repeated."),
        ] = None,
    ) -> Response:
        """Why an item has its score for a user (docs/explain.md)."""
        opened = state.require()
        request.scope["m3csr_ids"] = [user_id, item_id]
        retriever = opened.retriever
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(retriever.searching, retriever.explain, user_id, item_id, history or [])
        if answer is None:
            raise HTTPException(404, f"item {quoted(item_id)} is not in the release")
        return _json(answer)

    async def health() -> dict[str, bool]:
        """Whether the process runs."""
        return {"alive": True}

    async def ready() -> dict[str, int]:
        """Whether it answers, and from what."""
        retriever = state.require().retriever
        return {
            "version": retriever.release.version,
            "position": retriever.position,
            "items": len(retriever.release.index),
        }

    async def metrics() -> Response:
        """Metrics of Prometheus."""
        if state.opened is not None:
            retriever = state.opened.retriever
            measures.version.set(retriever.release.version)
            measures.position.set(retriever.position)
            measures.items.set(len(retriever.release.index))
            measures.waiting.set(state.opened.batcher.waiting + state.opened.by_rules.waiting)
        return Response(measures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    # FastAPI reads the types of bodies from annotations; theirs have the limits of the settings.
    recommend.__annotations__["query"] = schemas.recommend_query(service, retrieve)
    similar_items.__annotations__["query"] = schemas.similar_query(service, similar)
    recommend.__annotations__["request"] = similar_items.__annotations__["request"] = Request
    conflict: _Responses = {
        409: {"model": schemas.Problem, "description": "The filters leave no item, or no age is known."}
    }
    unknown: _Responses = {404: {"model": schemas.Problem, "description": "The release lacks the item."}}
    unserved: _Responses = {502: {"model": schemas.Problem, "description": "TF Serving does not answer."}}
    add = app.add_api_route
    lists: _Responses = {**problems, **conflict, **unserved, **_ok("RecommendAnswer")}
    add(RECOMMEND, recommend, methods=["POST"], responses=lists)
    add(SIMILAR, similar_items, methods=["POST"], responses={**problems, **conflict, **_ok("SimilarAnswer")})
    explained: _Responses = {
        200: {"description": "The explanation."},
        # The HTTP server itself refuses what is no HTTP or has too long a line, before any route is known.
        400: {
            "model": schemas.Problem,
            "description": "The request is malformed; as text where its address is too long.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
    }
    add(EXPLAIN, explain, methods=["GET"], responses={**problems, **unknown, **explained})
    add(HEALTH, health, methods=["GET"], response_model=schemas.Alive)
    add(READY, ready, methods=["GET"], response_model=schemas.Ready, responses=_problems(503))
    text: _Responses = {200: {"description": "Text.", "content": {"text/plain": {"schema": {"type": "string"}}}}}
    add(METRICS, metrics, methods=["GET"], response_class=Response, responses={**_problems(401), **text})
    return Guard(app, service, token, measures, ROUTES)


async def _recommended(opened: Opened, query: schemas.RecommendQuery) -> dict[str, Any]:
    if not query.cap and query.near_duplicates is None:
        return await _computed(opened, opened.batcher, query)
    parts = []
    for start in range(0, len(query.users), RULED_AT_ONCE):
        some = query.model_copy(update={"users": query.users[start : start + RULED_AT_ONCE]})
        parts.append(await _computed(opened, opened.by_rules, some))
    # A refresh may have come between two parts: what it changed is in some of the lists.
    position = min(part["position"] for part in parts)
    return {**parts[0], "position": position, "users": [user for part in parts for user in part["users"]]}


async def _computed(
    opened: Opened, batcher: Batcher[schemas.RecommendQuery, dict[str, Any]], query: schemas.RecommendQuery
) -> dict[str, Any]:
    from m3csr_tf.service.selections import Superseded

    for _ in range(_TRIES):
        await opened.retriever.prepare(query)
        try:
            return await batcher.submit(query)
        except Superseded:
            continue
    raise HTTPException(503, "items change faster than these filters can be applied", {"Retry-After": "1"})


def _json(answer: Any) -> Response:
    return Response(json.dumps(answer, ensure_ascii=False).encode(), media_type="application/json")


def _ok(model: str) -> _Responses:
    return {200: {"model": getattr(schemas, model)}}


def _problems(*statuses: int) -> _Responses:
    said = {
        400: "The body is not JSON.",
        401: "The bearer token is missing or wrong.",
        408: "The request arrived too slowly.",
        413: "The body is too large.",
        422: "A field is missing, unknown or out of its limits.",
        500: "An error of the service.",
        503: "The release is being opened, or too many requests wait.",
        504: "It took too long.",
    }
    return {status: {"model": schemas.Problem, "description": said[status]} for status in statuses}


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """What is wrong with the first field that is wrong."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    kind = request.headers.get("content-type", "")
    if first["loc"] == ("body",) and "json" not in kind.lower():
        said = f"the header Content-Type is {quoted(kind)}" if kind else "there is no header Content-Type"
        return JSONResponse({"error": f"{said}; expected application/json, and the query as JSON"}, 422)
    place = ".".join(map(str, first["loc"][1:])) or str(first["loc"][0])
    message = str(first["msg"]).removeprefix("Value error, ")
    given = first.get("input")
    got = f"; got {quoted(given)}" if first["type"] != "missing" and isinstance(given, str | int | float | None) else ""
    more = f" ({len(error.errors())} such problems)" if len(error.errors()) > 1 else ""
    return JSONResponse({"error": one_line(f"{quoted(place)[1:-1]}: {message}{got}{more}")}, 422)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    return JSONResponse({"error": one_line(str(error.detail))}, error.status_code, error.headers)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    from m3csr_tf.service.selections import NothingLeft

    return JSONResponse({"error": one_line(str(error))}, 409 if isinstance(error, NothingLeft) else 422)


async def _towers_failed(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": one_line(str(error))}, 502)


async def _overloaded(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": "too many requests wait; ask again later"}, 503, {"Retry-After": "1"})
