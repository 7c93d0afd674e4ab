"""What requests and answers look like: the pydantic models behind the service's OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from m3csr_tf.config import RetrieveConfig, ServiceConfig, SimilarConfig
from m3csr_tf.config.section import LONGEST_LIST
from m3csr_tf.data.catalogue import LARGEST_ENTRY
from m3csr_tf.util.quoting import is_utf8

LONGEST_ID = 1000
"""Characters of an id."""


def _text(value: str) -> str:
    if not is_utf8(value):
        raise ValueError("holds half of a surrogate pair, which is no text; expected whole ones")
    return value


Id = Annotated[str, Field(min_length=1, max_length=LONGEST_ID, strict=True), AfterValidator(_text)]
Entry = Annotated[float, Field(ge=-LARGEST_ENTRY, le=LARGEST_ENTRY, allow_inf_nan=False)]
Vectors = Annotated[
    dict[str, list[Entry] | None],
    Field(
        description="Modality -> its raw vector, as in the catalogue; null, or no such key, where the item lacks it.",
        examples=[{"visual": [0.12, -1.4, 0.33], "acoustic": None}],
    ),
]

Cap = Annotated[int, Field(ge=1, le=LONGEST_LIST, strict=True)]
Cosine = Annotated[float, Field(gt=0, le=1, strict=True)]
Days = Annotated[float, Field(gt=0, le=100_000, strict=True)]


class _Exchanged(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class UserQuery(_Exchanged):
    """A user who wants a list."""

    user_id: Id = Field(description="Known to the release or not.", examples=["u0001"])
    history: list[Id] = Field(
        default_factory=list,
        description="Items that she clicked, oldest first; they are left out of her list.",
        examples=[["v0003", "v0042"]],
    )
    content: dict[Id, Vectors] = Field(
        default_factory=dict,
        description="Raw content of items of the history that the release lacks.",
        examples=[{}],
    )
    exclude: list[Id] = Field(
        default_factory=list, description="Further items to leave out of her list.", examples=[["v0007"]]
    )


class RecommendQuery(_Exchanged):
    """Users who want lists, and what kind of lists."""

    users: list[UserQuery]
    n: int
    only: Literal["all", "cold"] = Field("all", description="cold: cold items, and no others (docs/cold.md).")
    cold_quota: float = Field(
        0.0, ge=0, le=1, description="Least share of a list that cold items take, the best of them."
    )
    max_age_days: Days | None = Field(
        None, description="Items that were published more days ago are in no list; null: any age.", examples=[30]
    )
    cap: dict[Id, Cap] = Field(
        default_factory=dict,
        description="Column of the catalogue that the release keeps -> how many items of a list may have the same "
        "value of it; items without a value are not capped.",
        examples=[{}],
    )
    near_duplicates: Cosine | None = Field(
        None,
        description="Of items whose content has at least this cosine, a list holds the best one alone; null: items are "
        "not compared.",
        examples=[0.98],
    )
    parts: bool = Field(False, description="Whether to give the parts of each score.")


class ItemQuery(_Exchanged):
    """An item to which similar ones are wanted."""

    item_id: Id = Field(description="An item of the release, or any id with content.", examples=["v0042"])
    content: Vectors | None = Field(None, description="Raw content, by which it is compared instead of as it is known.")
    view_count: int | None = Field(None, ge=0, le=2**53, description="How often it was viewed, where content is given.")


class SimilarQuery(_Exchanged):
    """Items to which similar ones are wanted."""

    items: list[ItemQuery]
    by: str
    n: int


class ListedItem(_Exchanged):
    """An item of a list."""

    item_id: str
    score: float
    parts: dict[str, float] | None = Field(None, description="Share of each part in the score; they sum to it.")


class UserList(_Exchanged):
    """A user's list, best first."""

    user_id: str
    known: bool = Field(description="Whether the user tower was trained with her.")
    unknown_ids: int = Field(description="Ids of history and exclude that the release lacks and that had no content.")
    items: list[ListedItem]


class RecommendAnswer(_Exchanged):
    """Lists, in the order of the request's users."""

    version: int = Field(description="Version of the release.", examples=[3])
    position: int = Field(description="Refreshes of that version that it had taken in.", examples=[12])
    users: list[UserList]


class SimilarItem(_Exchanged):
    """An item that is near to the query item."""

    item_id: str
    cosine: float
    parts: dict[str, float] = Field(description="Share of each compared part in the cosine; they sum to it.")


class SimilarList(_Exchanged):
    """The nearest items of one, nearest first."""

    item_id: str
    known: bool = Field(description="Whether the release has it.")
    compared: bool = Field(description="Whether it has anything of what is compared; if not, its list is empty.")
    items: list[SimilarItem]


class SimilarAnswer(_Exchanged):
    """Lists, in the order of the request's items."""

    version: int
    position: int
    by: str
    items: list[SimilarList]


class Ready(_Exchanged):
    """The state of a service that answers."""

    version: int
    position: int
    items: int = Field(description="Items that can be recommended now.")


class Alive(_Exchanged):
    """A process that runs."""

    alive: bool


class Problem(_Exchanged):
    """Why there is no answer."""

    error: str


def recommend_query(service: ServiceConfig, retrieve: RetrieveConfig) -> type[RecommendQuery]:
    """`RecommendQuery` with the limits of the settings, and with those of the batch job as defaults."""
    ids = {"max_length": service.max_ids}
    user = _derived(
        UserQuery,
        history=(list[Id], _with(UserQuery, "history", **ids)),
        exclude=(list[Id], _with(UserQuery, "exclude", **ids)),
        content=(dict[Id, Vectors], _with(UserQuery, "content", **ids)),
    )
    n = Field(min(retrieve.top_n, service.max_n), ge=1, le=service.max_n, description="Length of the lists.")
    return _derived(
        RecommendQuery,
        users=(list[user], Field(min_length=1, max_length=service.max_users)),  # type: ignore[valid-type]
        n=(int, n),
        only=(Literal["all", "cold"], _with(RecommendQuery, "only", default=retrieve.only)),
        cold_quota=(float, _with(RecommendQuery, "cold_quota", default=retrieve.cold_quota)),
        max_age_days=(Days | None, _with(RecommendQuery, "max_age_days", default=retrieve.max_age_days)),
        cap=(dict[Id, Cap], _with(RecommendQuery, "cap", default=dict(retrieve.cap))),
        near_duplicates=(Cosine | None, _with(RecommendQuery, "near_duplicates", default=retrieve.near_duplicates)),
    )


def similar_query(service: ServiceConfig, similar: SimilarConfig) -> type[SimilarQuery]:
    """`SimilarQuery` with the limits and defaults of the settings."""
    by = Literal[tuple(service.similar_by)]  # type: ignore[valid-type]
    n = Field(min(similar.top_n, service.max_n), ge=1, le=service.max_n, description="Length of the lists.")
    return _derived(
        SimilarQuery,
        items=(list[ItemQuery], Field(min_length=1, max_length=service.max_users)),
        by=(by, Field(service.similar_by[0], description="What is compared (docs/similar.md).")),
        n=(int, n),
    )


def _with(model: type[BaseModel], name: str, **changes: Any) -> Any:
    """The field of a model with some of its attributes changed."""
    of = model.model_fields[name]
    kept: dict[str, Any] = {"description": of.description, "examples": of.examples}
    if of.default_factory is not None and "default" not in changes:
        kept["default_factory"] = of.default_factory
    for bound in of.metadata:
        kept |= {name: getattr(bound, name) for name in ("ge", "le") if hasattr(bound, name)}
    return Field(**kept | changes)


def _derived(model: type[Any], **fields: Any) -> type[Any]:
    return create_model(model.__name__, __base__=model, __doc__=model.__doc__, **fields)
