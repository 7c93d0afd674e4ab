"""Settings that were renamed: the refusal of an old name says the new one."""

from __future__ import annotations

from typing import Any

from m3csr_tf.config import KINDS, load
from m3csr_tf.config.renamed import RENAMED, new_name


def test_every_renamed_setting_names_one_that_there_is_and_is_none_itself() -> None:
    for old, new in RENAMED.items():
        assert not any(_is_a_setting(old, kind) for kind in KINDS), old
        assert any(_is_a_setting(new, kind) for kind in KINDS), new


def _is_a_setting(name: str, kind: str) -> bool:
    found: Any = load(None, [f"model.kind={kind}"])
    for part in name.split("."):
        if not hasattr(type(found), "model_fields") or part not in type(found).model_fields:
            return False
        found = getattr(found, part)
    return True


def test_the_new_name_of_a_section_counts_for_what_lies_in_it_and_that_of_a_model_for_its_kind() -> None:
    assert new_name("affinities.neighbours") == "item_graph.neighbours"
    assert new_name("affinities.similar") == "item_graph.content_share"
    assert new_name("model.id_start", "m3csr") == "model.id_initialisation"
    assert new_name("model.id_start", "lightgcn") is None  # It has no such setting under any name.
    assert new_name("model.dim", "m3csr") is None
