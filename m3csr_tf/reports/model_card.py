"""The model card of a run (Mitchell et al., 2019): what it is, its data, how it was chosen, its quality and limits."""

from __future__ import annotations

import re
from typing import Any

from m3csr_tf.reports.run_files import RunFiles
from m3csr_tf.reports.words import chosen_by, describe_split, figure_of, has_intervals, systems_of, titled
from m3csr_tf.util.quoting import printable, shortened

_SLICES = ("all", "warm", "few", "cold", "cold_only")
_METRICS = ("recall@20", "precision@20", "ndcg@20")


def model_card(run: RunFiles) -> str:
    """Returns the card as Markdown; every number in it comes from the run's files."""
    counts, finished = run.prepared.manifest["counts"], run.finished
    by = _by(run.settings["training"])
    figure, best = chosen_by(finished)
    lines = [
        f"# Model card: {_plain(run.name)}",
        "",
        f"{_plain(run.model)}, trained by m3csr_tf {_plain(str(run.versions.get('m3csr_tf', '?')))}.",
        "",
        "## What it is for",
        "",
        "The retrieval stage of a recommender: from a user's history it ranks a whole catalogue, items that nobody has "
        "clicked yet among them. It gives candidates for a ranking stage; it decides nothing about people.",
        "",
        "## Data",
        "",
        f"- Source: layout `{_plain(str(run.settings['data']['format']))}`; {describe_split(run)}.",
        f"- {counts['users']:,} users and {counts['items']:,} items; {counts['train_interactions']:,} interactions for "
        f"training, {counts['val_interactions']:,} for validation, {counts['test_interactions']:,} for test.",
        f"- {counts['cold_items']:,} items have no training click, {counts['strictly_cold_items']:,} of them held out "
        "on purpose.",
    ]
    for name in run.prepared.modalities:
        width = run.prepared.content[name].shape[1]
        without = counts.get(f"items_without_{name}", 0)
        lines.append(f"- Modality {_plain(name)}: vectors of {width} numbers; {without:,} items have none.")
    lines += [
        "",
        "## How it was trained and chosen",
        "",
        f"- {finished['steps']:,} steps in {finished['training_seconds']:,.0f} s, seed {run.settings['run']['seed']}.",
        f"- Its weights are those of step {finished['best_step']:,}, with a {figure} on validation users of "
        f"{best}, which no later validation bettered{by}. No test click was looked at for that.",
        *_chosen(run.metrics["baselines"]),
        "",
        "## Figures on the test split",
        "",
        *_figures(run),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in limits(run)),
        "",
    ]
    return "\n".join(lines)


def limits(run: RunFiles) -> list[str]:
    """Returns sentences that say what a reader must not conclude from the figures."""
    test = run.metrics["test"]
    sentences = [
        "Offline figures on logged clicks: an item that was never shown could not be clicked, so they favour what the "
        "logged system showed.",
        (
            "One training with one seed: the intervals say what other users of the same log would change, not what "
            "another seed would (pipelines/seeds.py measures that)."
            if has_intervals(run)
            else "One training with one seed, and no intervals, since evaluation.bootstrap was 0: nothing here says "
            "what other users or another seed (pipelines/seeds.py) would change."
        ),
    ]
    if run.settings["data"]["format"] == "world":
        sentences.append(
            "The data are synthetic (a built-in world whose truth is known); nothing here says how the model does on "
            "real logs."
        )
    drawn = test["all"]
    if drawn.get("of", drawn["users"]) > drawn["users"]:
        sentences.append(f"Of {drawn['of']:,} test users {drawn['users']:,} were ranked, a seeded draw.")
    for name in _SLICES:
        users = test.get(name, {}).get("users", 0)
        if 0 < users < 100:
            sentences.append(f"The slice {name} has {users:,} users; its figures are rough.")
        elif not users:
            sentences.append(f"The slice {name} has no users, so nothing is known of it.")
    if run.settings["run"].get("deterministic") is False:
        sentences.append(
            "Trained without run.deterministic: the same command may give weights that differ in late digits."
        )
    return sentences


def _figures(run: RunFiles) -> list[str]:
    lines = [
        f"Means over users{', with 95% bootstrap intervals' if has_intervals(run) else ''}. *warm*: items with "
        "training clicks; *few*: 1 to 4 of them; *cold*: none; *cold_only*: cold items ranked among themselves.",
        "",
        "| system | items | users | Recall@20 | Precision@20 | NDCG@20 |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for system, slices in systems_of(run).items():
        for name in _SLICES:
            tree: dict[str, Any] = slices.get(name, {})
            if not tree.get("users"):
                continue
            cells = []
            for metric in _METRICS:
                found = figure_of(tree, metric)
                cells.append(f"{found.text}{f' [{found.low}, {found.high}]' if found.low else ''}")
            lines.append(f"| {_plain(system)} | {_plain(name)} | {tree['users']:,} | {' | '.join(cells)} |")
    return lines


def _chosen(baselines: dict[str, Any]) -> list[str]:
    lines = []
    for name, tree in baselines.items():
        if "choice" in tree:
            choice = tree["choice"]
            selected_on = _plain(str(choice["selected_on"]))
            lines.append(
                f"- Baseline {_plain(titled(name))}: the best of {choice['grid']} settings on {selected_on} clicks."
            )
    return lines


def _by(training: dict[str, Any]) -> str:
    """By how much a validation had to be better, as the end of a sentence; empty where any rise was enough."""
    share, errors = training["min_delta"], training["min_standard_errors"]
    least = [f"by more than {share:.1%}"] if share else []
    if errors:
        counted = "one standard error" if errors == 1 else f"{errors:g} standard errors"
        least.append(f"by more than {counted} of the difference over the same users")
    return f" {' and '.join(least)}" if least else ""


def _plain(text: str) -> str:
    """Returns text on one line, in which Markdown and HTML see no markup."""
    line = " ".join(printable(shortened(text)).split())
    return re.sub(r"([\\`*_{}\[\]<>#|&!])", r"\\\1", line)
