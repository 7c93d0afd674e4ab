"""Reads the file of a suite, which names its data sets and what is to be measured on each."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from m3csr_tf import config as configuration
from m3csr_tf.config import Section
from m3csr_tf.config.problems import of_file
from m3csr_tf.errors import ConfigError
from m3csr_tf.util.names import Name
from m3csr_tf.util.quoting import quoted


class Member(Section):
    """One entry of a suite: a data set, and what is to be measured on it."""

    config: Path | None = Field(None, description="YAML file of settings, from the folder of the suite's file")
    data: str | None = Field(None, description="the entry of the suite's `data` whose folder is data.path")
    settings: tuple[str, ...] = Field((), description="settings of this member, section.name=value")
    slice: Literal["all", "cold_only"] = "all"
    split: Literal["val", "test"] = Field("val", description="val by default, so that no choice of settings sees test")


class Suite(Section):
    """The contents of a suite's file."""

    name: Name | None = Field(None, description="begins the names of the runs; without one, the name of the file")
    seeds: int = Field(3, ge=1, description="run seeds 0 to seeds - 1 are trained on each member")
    data: dict[str, Path | None] = Field({}, description="data set: its folder; without one, its members are left out")
    settings: tuple[str, ...] = Field((), description="settings of all members; those of a member come after them")
    members: dict[Name, Member] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Suite:
        for name, member in self.members.items():
            if member.data is not None and member.data not in self.data:
                known = ", ".join(self.data) or "nothing"
                raise ValueError(f"members.{name}.data is {quoted(member.data)}, but data names {known}")
        return self


def read_suite(file: Path) -> Suite:
    """Reads the file of a suite.

    Raises:
      ConfigError: the file is missing or malformed.
    """
    tree = configuration.read_mapping(file, "suite", "--config", "with members")
    try:
        return Suite.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(of_file(error, file)) from None
