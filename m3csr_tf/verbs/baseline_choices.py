"""Formats the settings that a search on validation has chosen for each baseline, as a table and as lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from m3csr_tf.baselines import registry
from m3csr_tf.baselines.search import ChosenSettings


def choices_table(choices: Mapping[str, ChosenSettings]) -> Table:
    """Returns a table of what each baseline's settings were chosen on, with metrics, trials and seconds."""
    title = "settings of the baselines, as chosen by Recall@20"
    table = Table("baseline", "chosen on", title=title, title_justify="left")
    for heading in ("Recall@20", "NDCG@20", "tried", "seconds"):
        table.add_column(heading, justify="right")
    for name, choice in choices.items():
        figures = ("-" if value is None else f"{value:.4f}" for value in (choice.recall, choice.ndcg))
        table.add_row(name, choice.selected_on, *figures, str(choice.grid), f"{choice.seconds:,.0f}")
    return table


def in_words(settings: Mapping[str, Any]) -> str:
    """Formats settings on one line, without the settings of nested baselines, which have lines of their own."""
    parts = []
    for name, value in settings.items():
        if name in registry.BASELINES:
            continue
        if isinstance(value, Mapping):
            value = " ".join(f"{key}:{weight:g}" for key, weight in value.items())
        elif isinstance(value, Sequence) and not isinstance(value, str):
            value = "+".join(map(str, value))
        elif isinstance(value, float):
            value = f"{value:.3g}"
        parts.append(f"{name} {value}")
    return ", ".join(parts)
