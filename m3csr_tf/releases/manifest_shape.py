"""The shape of a manifest and the bounds of its values: an edited one with a new fingerprint may hold anything."""

from __future__ import annotations

from itertools import pairwise
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, model_validator

from m3csr_tf.config import HistoryConfig, IndexConfig
from m3csr_tf.models.m3csr.layout import ID_PART, POPULARITY_PART
from m3csr_tf.util.names import is_plain
from m3csr_tf.util.quoting import listed, quoted

_LARGEST = 2**63 - 1
"""Largest whole number that NumPy and TF Serving hold."""
_WIDEST = 2**24
"""Largest width of a vector, far above that of any tower."""


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.as_posix() != name or name == ".":
        raise ValueError(f"{quoted(name)} does not lie inside the part")
    return name


def _plain(name: str) -> str:
    if not is_plain(name):
        raise ValueError(f"{quoted(name)} is no name")
    return name


def _ascending(edges: list[int]) -> list[int]:
    if any(upper <= lower for lower, upper in pairwise(edges)):
        raise ValueError("they do not ascend")
    return edges


def _bounds(section: type[BaseModel], name: str) -> Any:
    """Returns a field with the bounds that the configuration sets for a setting."""
    return Field(
        **{
            end: getattr(one, end)
            for one in section.model_fields[name].metadata
            for end in ("ge", "gt", "le")
            if hasattr(one, end)
        }
    )


_PlainName = Annotated[str, AfterValidator(_plain)]
_Count = Annotated[int, Field(ge=1, le=_LARGEST)]
_Width = Annotated[int, Field(ge=1, le=_WIDEST)]
_Place = Annotated[list[Annotated[int, Field(ge=0, le=_WIDEST)]], Field(min_length=2, max_length=2)]


class _Index(BaseModel):
    kind: str
    items: _Count
    width: _Width
    recall: float = Field(ge=0, le=1)


class _OfIndex(BaseModel):
    recall: Annotated[float, _bounds(IndexConfig, "recall")]
    recall_at: Annotated[int, _bounds(IndexConfig, "recall_at")]


class _OfData(BaseModel):
    format: str
    modalities: dict[str, str]


class _Settings(BaseModel):
    model: dict[str, Any]
    history: dict[str, Any]
    exposure: dict[str, Any]
    index: _OfIndex
    data: _OfData


class _FinalFit(BaseModel):
    run: _PlainName
    finished: str
    clicks: str


class Manifest(BaseModel):
    """The fields that every manifest must have; it may have more."""

    name: _PlainName
    run: _PlainName
    version: _Count
    fingerprint: str
    modalities: dict[_PlainName, _Width] = Field(min_length=1)
    layout: dict[_PlainName, _Place] = Field(min_length=1)
    explains: bool = True
    gate: dict[str, Any] = Field(default_factory=dict)
    item_columns: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    final_fit: _FinalFit | None = None
    popularity_edges: Annotated[list[_Count], AfterValidator(_ascending)] = Field(min_length=1, max_length=1000)
    history_length: Annotated[int, _bounds(HistoryConfig, "length")]
    index: _Index
    config: _Settings
    trained: str
    prepared: str
    parts: dict[str, Annotated[dict[Annotated[str, AfterValidator(_inside)], str], Field(min_length=1)]]

    @model_validator(mode="after")
    def _fits(self) -> Manifest:
        # The parts of a model that explains its scores must be the id, each modality, and perhaps popularity.
        known = {ID_PART, *self.modalities}
        if self.explains and {*self.layout} - {POPULARITY_PART} != known:
            raise ValueError(f"layout has the parts {listed(self.layout)}, expected {listed(known)}")
        end = 0
        for part, (start, stop) in sorted(self.layout.items(), key=lambda place: place[1]):
            if start != end or stop <= start:
                raise ValueError(f"layout: {part} lies from {start} to {stop}, expected from {end} on")
            end = stop
        if end != self.index.width:
            raise ValueError(f"layout ends at {end}, and the vectors of the index have width {self.index.width}")
        return self
