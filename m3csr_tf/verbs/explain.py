"""explain: says why an item has its score for a user."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from rich.table import Table

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.audience import Audience
from m3csr_tf.errors import InputError
from m3csr_tf.explain import Explanation, explain_pair
from m3csr_tf.explain.explanation import Attended
from m3csr_tf.ids import PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.releases.release import Release, open_release
from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.progress import progress
from m3csr_tf.util.quoting import is_utf8, quoted, shortened
from m3csr_tf.verbs.console import console, say
from m3csr_tf.verbs.origin import origin

_SHOWN = 5
"""Number of history items with the highest attention that are printed for each part."""


def explain(config: Config, user: str, item: str, history: str | None, as_json: bool) -> Explanation:
    """Explains the score of an item for a user; prints its parts, intensities, gate and attention (docs/explain.md).

    Args:
      config: names the release and, if no history is given, the run that it came from.
      user, item: ids of the user and the item.
      history: item ids, oldest first, separated by commas or as a JSON list; None takes the history of the user in the
        whole log of the run.
      as_json: print JSON and nothing else.

    Raises:
      InputError: an id is empty or not UTF-8, or the history is not a list of ids.
    """
    if not user or not item:
        raise InputError("explain: needs the ids of a user and an item, --user U --item I; got an empty one")
    for option, text in (("--user", user), ("--item", item), ("--history", history or "")):
        if not is_utf8(text):
            raise InputError(f"explain: {option} {quoted(text)} is no UTF-8; give ids in UTF-8")
    past = None if history is None else _given_history(history)
    with progress("opening the release"):
        release = open_release(config.release_folder)
    explanation = explain_pair(release, user, item, known_history(config, release, user) if past is None else past)
    if as_json:
        text = json.dumps(explanation.to_json(), indent=2, ensure_ascii=False)
        # Ids keep their letters, but control characters, which a terminal would execute, are escaped as in JSON.
        sys.stdout.write("".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text))
        sys.stdout.write("\n")
    else:
        print_explanation(explanation)
    return explanation


def _given_history(text: str) -> list[str]:
    if not text.lstrip().startswith(("[", "{")):
        return [one.strip() for one in text.split(",") if one.strip()]
    try:
        ids = parse_json(text)
    except ValueError as error:
        raise InputError(
            f"explain: --history starts with {text.lstrip()[0]} and is no JSON ({error}); expected a list of item ids, "
            """e.g. '["v1", "v2, part 2"]'"""
        ) from None
    if not isinstance(ids, list) or not all(isinstance(one, str) and is_utf8(one) for one in ids):
        raise InputError(
            f"""explain: --history is {quoted(text)}; expected a list of item ids in quotes, e.g. '["1", "2"]'"""
        )
    return list(ids)


def known_history(config: Config, release: Release, user: str) -> list[str]:
    """Returns the user's history up to the end of the run's log; it is empty if the run does not know the user."""
    trained = origin(config, release, "pass --history")
    rows = trained.prepared.users.rows([user])
    if rows[0] == UNKNOWN_ROW:
        return []
    [slots] = Audience(trained.prepared, trained.config, columns.SPLITS).histories(rows)
    return list(trained.prepared.items.ids(slots[slots != PADDING_ROW]))


def print_explanation(explanation: Explanation) -> None:
    """Prints an explanation as text; for a model that does not explain its scores, only the parts of the score."""
    known = "" if explanation.known_user else ", unknown to the user tower: asked about as unknown users are"
    say(f"{explanation.release}, version {explanation.version} ({explanation.fingerprint[:12]})")
    say(f"user {shortened(explanation.user)}{known}; history of {len(explanation.history)}")
    if explanation.skipped:
        say(f"  not used: {', '.join(map(shortened, explanation.skipped))}")
    views = "" if explanation.views is None else f", {explanation.views:,} views"
    if not explanation.explains:
        say(f"item {shortened(explanation.item)}: popularity bin {explanation.popularity_bin}{views}")
        table = Table("part", "score")
        table.columns[1].justify = "right"
        for part, value in (*explanation.parts.items(), ("score", explanation.score)):
            table.add_row(part, f"{value:+.4f}")
        console.print(table)
        say(f"{explanation.model} has no intensities, gate or attention: the parts of the score are all that it says")
        return
    gate = (
        "no gate"
        if explanation.gate is None
        else f"gate {explanation.gate:.3f}: its content weighs {explanation.gate:.1%}, its id "
        f"{1 - explanation.gate:.1%}"
    )
    say(f"item {shortened(explanation.item)}: popularity bin {explanation.popularity_bin}{views}; {gate}")
    table = Table("part", "score", "intensity", "cluster", f"highest attention (of {len(explanation.history)})")
    for column in (1, 2, 3):
        table.columns[column].justify = "right"
    for part, value in explanation.parts.items():
        modal = part in explanation.intensities
        table.add_row(
            part,
            f"{value:+.4f}",
            f"{explanation.intensities[part]:.3f}" if modal else "",
            (str(explanation.clusters[part]) if explanation.clusters[part] else "absent") if modal else "",
            _attention(explanation.attention.get(part)),
        )
    table.add_section()
    table.add_row("score", f"{explanation.score:+.4f}")
    console.print(table)
    if explanation.attention_is_uniform:
        say("attention is uniform over the history")


def _attention(items: Sequence[Attended] | None) -> str:
    if items is None:
        return ""
    more = f", {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return (
        ", ".join(f"{shortened(item)} {weight:.0%}" for item, weight in items[:_SHOWN]) + more or "nothing to attend to"
    )
