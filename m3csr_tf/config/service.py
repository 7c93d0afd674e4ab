"""Section `service`: the online retrieval service."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from m3csr_tf.config.section import LONGEST_LIST, Section
from m3csr_tf.util.quoting import quoted

_ADDRESS = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")


class ServiceConfig(Section):
    """The online service; how long its lists are by default, and what is filtered, section `retrieve` says."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; by default this machine alone")
    port: int = Field(8600, ge=0, le=65535, description="0 takes a free one, which is printed")
    towers: str | None = Field(
        None, description="HOST:PORT of a TF Serving that computes user vectors; without one, the service does"
    )
    max_batch: int = Field(64, ge=1, le=4096, description="users of one call of the tower and one search")
    batch_wait_ms: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="how long a request may wait for others to share that call with; those that arrive during one "
        "call share the next one in any case",
    )
    max_waiting: int = Field(
        1000, ge=1, le=1_000_000, description="users that wait for a search; beyond that, requests are refused (503)"
    )
    max_users: int = Field(100, ge=1, le=10_000, description="users, or query items, of one request")
    max_n: int = Field(1000, ge=1, le=LONGEST_LIST, description="longest list that may be asked for")
    max_ids: int = Field(10_000, ge=1, le=1_000_000, description="ids of one history, or of one list of exclusions")
    max_body_bytes: int = Field(4 << 20, ge=1024, le=1 << 30, description="of a request")
    timeout_s: float = Field(5.0, gt=0, le=600, description="seconds that a request may take, its arrival included")
    keep_alive_s: int = Field(75, ge=1, le=3600, description="seconds after which an idle connection is closed")
    drain_s: float = Field(
        30.0,
        ge=0,
        le=3600,
        description="seconds in which clients of a replaced version may end their connections; the rest is closed then",
    )
    poll_s: float = Field(
        0.5, ge=0.01, le=60, description="seconds between two looks at the journal and at the manifest of the release"
    )
    age_lag_s: float = Field(
        60.0,
        ge=1,
        le=86_400,
        description="seconds by which ages (cold.max_age_hours, max_age_days) may lag behind the clock; what depends "
        "on them is made again after half of that time, while the older one is used",
    )
    similar_by: list[str] = Field(
        ["vector"],
        min_length=1,
        description="what /v1/similar may compare by (similar.by), the first by default; each takes memory once it has "
        "been asked for: 8 bytes an entry of the vectors compared",
    )
    token_file: Path | None = Field(
        None, description="file of the bearer token that requests must bring; without one, nobody is asked"
    )
    tls_certificate: Path | None = Field(None, description="PEM file of the certificate, to serve HTTPS")
    tls_key: Path | None = Field(None, description="PEM file of its private key")
    log: Literal["errors", "requests", "ids"] = Field(
        "errors", description="requests: a line for each request, without ids; ids: with the ids of its users or items"
    )

    @field_validator("towers")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        found = None if value is None else _ADDRESS.fullmatch(value)
        if value is not None and (not found or not 0 < int(found[2]) < 65536):
            raise ValueError(f"service.towers must be HOST:PORT, e.g. localhost:8500, got {quoted(value)}")
        return value

    @model_validator(mode="after")
    def _has_both_files(self) -> ServiceConfig:
        if (self.tls_certificate is None) != (self.tls_key is None):
            there, lacking = "tls_certificate", "tls_key"
            if self.tls_certificate is None:
                there, lacking = lacking, there
            raise ValueError(f"service.{there} is set and service.{lacking} is not; HTTPS needs both files")
        return self
