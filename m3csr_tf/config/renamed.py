"""Settings that had another name in earlier versions, so that the refusal of an old name can give the new one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from m3csr_tf.config.models import KINDS, kind_of

RENAMED: Mapping[str, str] = {
    "affinities": "item_graph",
    "affinities.similar": "item_graph.content_share",
    "affinities.popular": "item_graph.popularity_share",
    "item_graph.similar": "item_graph.content_share",
    "item_graph.popular": "item_graph.popularity_share",
    "model.attention_start": "model.attention_initialisation",
    "model.content_start": "model.content_initialisation",
    "model.id_start": "model.id_initialisation",
    "model.initial.co_click_shares": "model.initial.co_click_multipliers",
    "model.initial.fold_choices": "model.initial.fold_samples",
    "model.initial.predicted_id_shares": "model.initial.predicted_id_multipliers",
    "model.appeal": "model.content_popularity",
    "training.cold_items": "training.item_id_dropout",
    "training.cold_users": "training.user_id_dropout",
}
"""The old name of a section or setting -> its present name; that of a section applies to all that is in it."""


def new_name(setting: str, kind: str | None = None) -> str | None:
    """Returns the present name of a setting or section that was renamed; None for any other.

    Args:
      setting: the dotted name.
      kind: the kind of the model, which decides what settings section `model` has; None where it is unknown.
    """
    parts = setting.split(".")
    for count in range(len(parts), 0, -1):
        known = RENAMED.get(".".join(parts[:count]))
        if known is not None:
            name = ".".join([known, *parts[count:]])
            break
    else:
        return None
    if (
        kind is not None
        and kind in KINDS
        and name.startswith("model.")
        and name.split(".")[1] not in KINDS[kind].model_fields
    ):
        return None
    return name


def advice(setting: str, kind: str | None = None) -> str:
    """Returns what the refusal of an unknown setting recommends; arguments are those of `new_name`."""
    name = new_name(setting, kind)
    return "`m3csr settings` lists all" if name is None else f"it is called {name} now"


def old_names(tree: Any) -> dict[str, str]:
    """Returns the settings and sections of a tree that were renamed, old -> new; a renamed section is listed alone.

    Args:
      tree: settings as in a file, checked or not.
    """
    if not isinstance(tree, Mapping):
        return {}
    kind = kind_of(tree.get("model"))
    present = [old for old in RENAMED if _has(tree, old) and old.rpartition(".")[0] not in RENAMED]
    names = {old: new_name(old, kind if isinstance(kind, str) else None) for old in present}
    return {old: new for old, new in names.items() if new is not None}


def _has(tree: Any, setting: str) -> bool:
    section, _, rest = setting.partition(".")
    return isinstance(tree, Mapping) and section in tree and (not rest or _has(tree[section], rest))
