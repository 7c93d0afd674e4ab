"""docs/models.md says what the classes say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from m3csr_tf.config import KINDS, Config
from m3csr_tf.models.registry import MODELS, model_class

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", MODELS)
def test_the_table_says_what_a_model_can_do(kind: str) -> None:
    row = re.search(rf"^\| `{kind}` \|(.*)\|$", PAGE, re.MULTILINE)
    assert row is not None, f"docs/models.md has no row for {kind}"
    _, new_items, explains, _ = (cell.strip() for cell in row[1].split("|"))
    model = model_class(Config.model_validate({"model": {"kind": kind}}).model)
    assert new_items == ("yes" if model.places_new_items else "no")
    assert explains == ("yes" if model.explains else "score parts")


@pytest.mark.parametrize("kind", MODELS)
def test_a_models_section_has_its_title_its_file_and_settings_that_exist(kind: str) -> None:
    model = model_class(Config.model_validate({"model": {"kind": kind}}).model)
    section = re.search(rf"^## ([^\n]*) \(`{kind}`\)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None, f"docs/models.md has no section of {kind}"
    assert section[1] == model.title
    module = model.__module__.removeprefix("m3csr_tf.").replace(".", "/")
    assert f"`{module}.py`" in section[2] or f"`{module.rpartition('/')[0]}/`" in section[2]
    named = set(re.findall(r"`model\.(\w+)`", section[2]))
    assert named <= set(KINDS[kind].model_fields) and "dim" in named
