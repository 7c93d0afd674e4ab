"""The tables of an experiment, made from the tree of results.json: the paper's Tables 1 to 3, and further ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from m3csr_tf.experiments.ablations import ABLATIONS
from m3csr_tf.experiments.comparison.figures import METRICS, SLICES
from m3csr_tf.experiments.comparison.gathering import SHARES
from m3csr_tf.experiments.comparison.sheet import Column, Sheet, number, plus_minus, words

Tree = Mapping[str, Any]

_HEADINGS = {"recall@20": "Recall@20", "precision@20": "Precision@20", "ndcg@20": "NDCG@20"}
_SLICE_NOTE = (
    "all: every item is ranked, every click counts. warm, few, cold: every item is ranked, and clicks on items with "
    "training clicks, with 1 to 4, with none count. cold_only: cold items alone are ranked; on a split with strictly "
    "cold items those alone."
)
_LISTS = {
    "coverage@20": "coverage",
    "cold_coverage@20": "cold coverage",
    "cold_share@20": "places of cold items",
    "novelty@20": "novelty, bits",
    "gini@20": "Gini of exposure",
}


def sheets(tree: Tree) -> list[Sheet]:
    """Returns all tables for which the experiment has numbers.

    Args:
      tree: the tree of results.json.
    """
    made = [_data(tree), _accuracy(tree), _ablations(tree), _slices(tree), _lists(tree), _cost(tree), _chosen(tree)]
    return [sheet for sheet in made if sheet.rows]


def _cells(tree: Tree) -> Iterator[tuple[str, Tree]]:
    return iter(tree["cells"].items())


def _data(tree: Tree) -> Sheet:
    names = ("users", "items", "interactions", "density", "train_interactions", "val_interactions", "test_interactions")
    rows = []
    for cell, found in _cells(tree):
        data = found["data"]
        if data is not None:
            widths = ", ".join(f"{name} {width}" for name, width in data["modalities"].items())
            numbers = {name: data[name] for name in (*names, "cold_items", "strictly_cold_items")}
            rows.append({"cell": cell, **numbers, "modalities": widths})
    columns = [
        words("data and split", "cell"),
        number("users", "users", ",d"),
        number("items", "items", ",d"),
        number("interactions", "interactions", ",d"),
        number("density", "density", ".3%"),
        number("train", "train_interactions", ",d"),
        number("validation", "val_interactions", ",d"),
        number("test", "test_interactions", ",d"),
        number("cold items", "cold_items", ",d"),
        number("strictly cold", "strictly_cold_items", ",d"),
        words("modalities, widths", "modalities"),
    ]
    note = "Cold: without a training click. Strictly cold: taken out of training on purpose."
    return Sheet("table1_data", "Table 1: data", note, columns, rows)


def _accuracy(tree: Tree) -> Sheet:
    rows = []
    for cell, found in _cells(tree):
        best = found["best_rivals"].get("all", {})
        for name, system in found["systems"].items():
            figures_by_metric = system["test"].get("all")
            if figures_by_metric is None:
                continue
            tests = system["against_ours"].get("all", {})
            row: dict[str, Any] = {"cell": cell, "system": system["title"], "how": system["how"]}
            for metric in METRICS:
                row |= _mean(metric, figures_by_metric[metric])
                test = tests.get(metric, {})
                row |= {f"{metric}_ours_minus": test.get("difference"), f"{metric}_p": test.get("p")}
                row |= {f"{metric}_low": test.get("low"), f"{metric}_high": test.get("high")}
            row["best"] = ", ".join(_HEADINGS[metric] for metric in METRICS if best.get(metric) == name)
            row["seeds"], row["users"] = len(system["seeds"]), figures_by_metric["recall@20"]["users"]
            rows.append(row)
    columns = [
        words("data and split", "cell"),
        words("system", "system"),
        *(plus_minus(_HEADINGS[metric], metric) for metric in METRICS),
        number("seeds", "seeds", "d"),
        number("ours minus it, Recall@20", "recall@20_ours_minus", "+.4f"),
        number("p, Recall@20", "recall@20_p", ".1e"),
        number("p, NDCG@20", "ndcg@20_p", ".1e"),
        words("best rival by", "best"),
    ]
    ours = tree["ours"]
    note = (
        f"Test, means over users ± standard deviation over seeds. p: paired t-test over the same users of {ours} "
        "against the system of the row, each user's metric averaged over the seeds. Settings are chosen on validation."
    )
    return Sheet("table2_accuracy", "Table 2: accuracy of full rankings", note, columns, rows)


def _mean(key: str, found: Tree) -> dict[str, Any]:
    return {key: found["mean"], f"{key}_sd": found["sd"]}


def _ablations(tree: Tree) -> Sheet:
    rows = []
    for cell, found in _cells(tree):
        ablations = found["ablations"]
        if not ablations:
            continue
        rows.append({"cell": cell, "variant": tree["ours"], **_variant(found["full"])})
        for name, title in ABLATIONS.items():
            if name in ablations:
                rows.append({"cell": cell, "variant": title, **_variant(ablations[name])})
    columns = [
        words("data and split", "cell"),
        words("variant", "variant"),
        plus_minus("Recall@20", "recall@20"),
        plus_minus("NDCG@20", "ndcg@20"),
        number("full minus it, Recall@20", "difference", "+.4f"),
        number("95%, low", "low", "+.4f"),
        number("high", "high", "+.4f"),
        number("p", "p", ".1e"),
        plus_minus("Recall@20, cold", "cold"),
        plus_minus("Recall@20, cold alone", "cold_only"),
        number("seeds", "seeds", "d"),
    ]
    note = (
        "Test, means over users ± standard deviation over seeds. Differences are of runs of the same seeds; interval "
        "and p are of the users. Every variant has the settings that were chosen for the full model."
    )
    return Sheet("table3_ablations", "Table 3: ablations", note, columns, rows)


def _variant(found: Tree) -> dict[str, Any]:
    row: dict[str, Any] = {}
    figures = found["figures"]
    for metric in ("recall@20", "ndcg@20"):
        row |= _mean(metric, figures["all"][metric])
    for name in ("cold", "cold_only"):
        if name in figures:
            row |= _mean(name, figures[name]["recall@20"])
    test = found.get("contribution", {}).get("all", {}).get("recall@20", {})
    row |= {name: test.get(name) for name in ("difference", "low", "high", "p")}
    return row | {"seeds": len(figures["all"]["recall@20"]["seeds"])}


def _slices(tree: Tree) -> Sheet:
    rows = []
    for cell, found in _cells(tree):
        for system in found["systems"].values():
            row: dict[str, Any] = {"cell": cell, "system": system["title"]}
            for name in SLICES:
                figures_by_metric = system["test"].get(name)
                for metric in METRICS if figures_by_metric else ():
                    row |= _mean(f"{name} {metric}", figures_by_metric[metric])
                if figures_by_metric:
                    row[f"{name} users"] = figures_by_metric["recall@20"]["users"]
            rows.append(row)
    filled = [name for name in SLICES if any(f"{name} users" in row for row in rows)]
    columns: list[Column] = [words("data and split", "cell"), words("system", "system")]
    for metric in ("recall@20", "ndcg@20"):
        columns += [plus_minus(f"{_HEADINGS[metric]}, {name}", f"{name} {metric}") for name in filled]
    return Sheet("slices", "Warm, barely clicked and cold items", _SLICE_NOTE, columns, rows)


def _lists(tree: Tree) -> Sheet:
    rows = []
    for cell, found in _cells(tree):
        for system in found["systems"].values():
            row: dict[str, Any] = {"cell": cell, "system": system["title"]}
            for name in SHARES:
                if name in system["lists"]:
                    row |= _mean(name, system["lists"][name])
            rows.append(row)
    columns = [
        words("data and split", "cell"),
        words("system", "system"),
        *(plus_minus(heading, name, ".3f") for name, heading in _LISTS.items()),
    ]
    note = (
        "Lists of 20 for the test users. Coverage: share of the catalogue, and of its cold items, that is in some "
        "list. Novelty: mean self-information of the listed items by training popularity. Gini: 0 if all items are "
        "listed equally often, near 1 if a few have all places."
    )
    return Sheet("lists", "What the lists show", note, columns, rows)


def _cost(tree: Tree) -> Sheet:
    rows = []
    for cell, found in _cells(tree):
        for system in found["systems"].values():
            cost = system["cost"]
            names = ("training_seconds", "process_seconds", "cpu_seconds", "examples_per_second", "peak_gib")
            best = cost.get("best_steps")
            row = {"cell": cell, "system": system["title"], **{name: cost.get(name) for name in names}}
            rows.append(row | {"best_step": None if best is None else sum(best) / len(best)})
    columns = [
        words("data and split", "cell"),
        words("system", "system"),
        number("training, s", "training_seconds", ",.0f"),
        number("all of it, s", "process_seconds", ",.0f"),
        number("of processors, s", "cpu_seconds", ",.0f"),
        number("examples/s", "examples_per_second", ",.0f"),
        number("best step, mean", "best_step", ",.0f"),
        number("peak memory, GiB", "peak_gib", ".2f"),
    ]
    note = (
        f"One run on one thread, {tree['processes']} at a time on this machine; means over seeds, peaks of memory the "
        "largest. Training: steps alone. All of it: TensorFlow's start, where weights start, training, validations and "
        "evaluation, but not the preparation of shared data; of a closed form its whole grid."
    )
    return Sheet("cost", "Time and memory", note, columns, rows)


def _chosen(tree: Tree) -> Sheet:
    rows: list[dict[str, Any]] = []
    for cell, found in _cells(tree):
        for system in found["systems"].values():
            for position, trial in enumerate(system.get("trials", ())):
                rows.append(
                    {
                        "cell": cell,
                        "system": system["title"],
                        "trial": position,
                        "settings": _settings(trial["settings"]) or "its own",
                        "recall@20": trial["recall"],
                        "ndcg@20": trial["ndcg"],
                        "seconds": trial["seconds"],
                        "epochs": trial["epochs"],
                        "chosen": "chosen" if position == system["chosen"] else trial["problem"] or "",
                    }
                )
    columns = [
        words("data and split", "cell"),
        words("system", "system"),
        number("trial", "trial", "d"),
        words("settings", "settings"),
        number("validation Recall@20", "recall@20"),
        number("NDCG@20", "ndcg@20"),
        number("epochs, at most", "epochs", ",.0f"),
        number("training, s", "seconds", ",.0f"),
        words("outcome", "chosen"),
    ]
    note = (
        f"{trials(tree)} for each trained model, of at most {tree['epochs']:g} passes over the training "
        "clicks each, chosen by validation Recall@20; the first one has the model's own settings."
    )
    return Sheet("chosen", "How settings were chosen", note, columns, rows)


def trials(tree: Tree) -> str:
    """Returns the number of trials of each model, in words."""
    return f"{tree['trials']} trial{'s' if tree['trials'] > 1 else ''}"


def _settings(settings: Tree) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items())


def as_markdown(found: Sequence[Sheet], name: str) -> str:
    """Returns all tables in one text."""
    return "\n".join([f"# {name}", "", *(sheet.markdown() for sheet in found)])
