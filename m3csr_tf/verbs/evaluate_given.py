"""evaluate --lists, --vectors: evaluates another system's lists or vectors as a run is evaluated, on the same users."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.audience import read_clicks
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError, NotFiniteError, RunError
from m3csr_tf.evaluation import metrics, per_user, report, significance, slice_table, user_draw
from m3csr_tf.evaluation.cold_items import ItemsThen, items_then
from m3csr_tf.evaluation.given_lists import read_lists
from m3csr_tf.evaluation.given_vectors import GivenVectors, read_vectors
from m3csr_tf.evaluation.report import Evaluation, ListJudge
from m3csr_tf.evaluation.significance import PairedTest
from m3csr_tf.evaluation.truth import Truth
from m3csr_tf.ids import FIRST_ROW, NO_ITEM
from m3csr_tf.ranking.full_ranking import top_n
from m3csr_tf.training import run_files, runs
from m3csr_tf.training.runs import TrainedRun
from m3csr_tf.util.names import is_plain
from m3csr_tf.util.progress import progress
from m3csr_tf.util.quoting import quoted
from m3csr_tf.util.stored import stored_json
from m3csr_tf.verbs.console import console, say
from m3csr_tf.verbs.load_run import load_run

LISTS, VECTORS = "lists", "vectors"
"""The two kinds of input, and the default names of their results."""


def evaluate_given(
    config: Config, lists: Path | None, vectors: tuple[Path, Path] | None, split: str, name: str | None
) -> Evaluation:
    """Evaluates given lists or vectors, tests them against the run's model, and writes runs/RUN/evaluations/NAME.json.

    Args:
      config: names the run, which must have been evaluated.
      lists: file of lists (`given_lists.read_lists`).
      vectors: files of user vectors and of item vectors (`given_vectors.read_vectors`), whose dot products are scores.
      split: the split whose clicks judge, "val" or "test".
      name: name of the result; None takes "lists" or "vectors".

    Raises:
      InputError: neither or both of `lists` and `vectors` are given, `name` cannot name a file, or a file cannot be
        used.
      RunError: the run has not been evaluated since it was trained, or its folder cannot be written.
    """
    if (lists is None) == (vectors is None):
        raise InputError(
            f"evaluate: got {'neither' if lists is None else 'both'} of --lists FILE and --vectors USERS ITEMS; "
            "--split and --name go with one of them"
        )
    given, files = (VECTORS, [*vectors]) if vectors else (LISTS, [lists] if lists else [])
    name = given if name is None else name
    if not is_plain(name):
        raise InputError(
            f"evaluate: --name {quoted(name)} cannot name a file; expected up to 100 letters of ASCII, digits, dots, "
            "colons, dashes and underscores, a letter or digit first"
        )
    trained = load_run(config, judged=True)
    runs.check_figures_fit(trained)
    title, own = _evaluated_before(trained, split)
    evaluation, counts = _of_vectors(trained, files, split) if vectors else _of_lists(trained, files[0], split)
    tests = _against(evaluation, own)
    tree: dict[str, Any] = {
        "given": given,
        "files": [str(file) for file in files],
        "split": split,
        "counts": counts,
        split: evaluation.to_json(),
        "against": {"system": title, "paired": _to_json(tests)},
        "training": trained.finished,
    }
    path = config.run_folder / run_files.EVALUATIONS / f"{name}.json"
    with runs.figures_of(trained):
        _refuse_foreign(path)
        report.write_metrics(path, tree)
    console.print(slice_table.table(f"{name}, {split}", evaluation))
    for what, count in counts.items():
        say(f"{name}: {what}: {count:,}")
    _print_tests(name, title, tests)
    say(f"written to {path}")
    return evaluation


def _evaluated_before(trained: TrainedRun, split: str) -> tuple[str, Evaluation]:
    """Returns the title of the run's model, and its evaluation on the split as the verb `evaluate` has written it."""
    folder, again = trained.config.run_folder, "run pipelines/evaluate.py first, without --lists and --vectors"
    if not (folder / run_files.METRICS_FILE).exists():
        raise RunError(f"{folder}: has not been evaluated, so there is nothing to test against; {again}")
    tree = stored_json(folder / run_files.METRICS_FILE, again, RunError)
    if tree.get("training") != trained.finished:
        raise RunError(f"{folder / run_files.METRICS_FILE}: is of an earlier training of the run; {again}")
    title = trained.model.title
    own = per_user.read(folder / per_user.PER_USER_FILE)
    if split not in own.get(title, {}):
        raise RunError(f"{folder / per_user.PER_USER_FILE}: has no metrics of {title} on {split}; {again}")
    return title, own[title][split]


def _judge(trained: TrainedRun, split: str) -> tuple[ListJudge, np.ndarray, int]:
    """Returns the judge of lists, the rows of the evaluated users, int [users], and the number of users of the split.

    Raises:
      InputError: nobody has a click in the split.
    """
    config, prepared = trained.config, trained.prepared
    users, of = user_draw.drawn_users(prepared, split, config.evaluation)
    if not len(users):
        raise InputError(f"{prepared.folder}: nobody has a click in split {split}, so nothing can be judged by it")
    settings = config.evaluation
    truth = Truth.read(prepared, split, users, settings.kinds)
    judge = ListJudge(
        truth.clicks, users, settings.top_n, config.run.seed, settings.bootstrap, truth.by_kind, truth.weighted
    )
    return judge, users, of


def _of_lists(trained: TrainedRun, path: Path, split: str) -> tuple[Evaluation, dict[str, int]]:
    """Evaluates a file of lists, and returns the counts of what was read and left out with the evaluation."""
    judge, users, of = _judge(trained, split)
    with progress("reading the lists"):
        given = read_lists(path, trained.prepared, users, judge.longest, trained.config.run.seed)
    then = items_then(trained.prepared, split, trained.config.cold)
    return _evaluation(judge, np.arange(len(users)), given.ranked, trained.prepared, of, then), given.counts


def _of_vectors(trained: TrainedRun, files: list[Path], split: str) -> tuple[Evaluation, dict[str, int]]:
    """Evaluates files of vectors, and returns the counts of what was read and left out with the evaluation.

    Users without a vector have empty lists, and items without a vector are in no list.
    """
    config, prepared = trained.config, trained.prepared
    judge, users, of = _judge(trained, split)
    with progress("reading the vectors"):
        of_users = read_vectors(files[0], columns.USER_ID, prepared.users, users)
        of_items = read_vectors(files[1], columns.ITEM_ID, prepared.items)
    widths = of_users.vectors.shape[1], of_items.vectors.shape[1]
    if widths[0] != widths[1]:
        raise InputError(
            f"{files[1]}: vectors of items have {widths[1]} numbers, and those of users in {files[0]} have "
            f"{widths[0]}; a score is their dot product, so give both one width"
        )
    seen = read_clicks(prepared, columns.TRAIN, users)
    known = np.arange(len(prepared.items)) >= FIRST_ROW

    def ranked(candidates: np.ndarray, places: np.ndarray, left_out: Any, stage: Any) -> np.ndarray:
        """Returns the lists of some users, which are given by their places among the evaluated users."""
        there = np.flatnonzero(of_users.given[places])
        result = np.full((len(places), judge.longest), NO_ITEM, np.int32)
        result[there] = top_n(
            of_users.vectors[places[there]],
            of_items.vectors,
            judge.longest,
            seen=None if left_out is None else left_out[places[there]],
            candidates=candidates & of_items.given,
            seed=config.run.seed,
            block=config.evaluation.block,
            on_progress=stage,
        )
        return result

    everybody, then = np.arange(len(users)), items_then(prepared, split, config.cold)
    try:
        with progress("ranking by the vectors, users") as stage:
            evaluation = _evaluation(judge, everybody, ranked(known, everybody, seen, stage), prepared, of, then)
        alone = known & report.items_ranked_alone(prepared, split, then)
        with progress("ranking new items alone, users") as stage:
            some = judge.users(alone)
            evaluation.slices[report.COLD_ONLY] = judge.slice(
                some, ranked(alone, some, None if then is None else seen, stage), alone
            )
    except NotFiniteError as error:
        said = str(error).partition(", since")[0]
        raise InputError(f"{files[0]} and {files[1]}: {said}; scale both down") from None
    return evaluation, _counts_of(of_users, "users' ") | _counts_of(of_items, "items' ")


def _counts_of(given: GivenVectors, whose: str) -> dict[str, int]:
    """Returns the counts of a file of vectors, in which "rows" says whose rows these are, since there are two files."""
    return {f"{whose}rows" if name == "rows" else name: count for name, count in given.counts.items()}


def _evaluation(
    judge: ListJudge, users: np.ndarray, ranked: np.ndarray, prepared: Prepared, of: int, then: ItemsThen | None
) -> Evaluation:
    return report.drawn_from(judge.evaluation(users, ranked, prepared.train_clicks, then), of)


def _against(evaluation: Evaluation, own: Evaluation) -> list[PairedTest]:
    """Tests the given system (first) against the model (second) by each slice and stored metric, on common users."""
    tests = []
    for name, part in evaluation.slices.items():
        if name not in own.slices:
            continue
        both = significance.on_common_users(evaluation, own, name)
        if len(both[0][name].users) < 2:
            continue
        wanted = [metric for metric in per_user.STORED if metric in part.values and metric in own[name].values]
        tests += [significance.compare(*both, metric=metric, slice_name=name) for metric in wanted]
    return tests


def _to_json(tests: list[PairedTest]) -> dict[str, dict[str, Any]]:
    tree: dict[str, dict[str, Any]] = {}
    for test in tests:
        figures = {key: value for key, value in asdict(test).items() if key not in ("metric", "slice_name")}
        tree.setdefault(test.slice_name, {})[test.metric] = figures
    return tree


def _print_tests(name: str, title: str, tests: list[PairedTest]) -> None:
    headings: Mapping[str, str] = {
        metrics.name(metrics.RECALL, 20): "Recall@20",
        metrics.name(metrics.NDCG, 20): "NDCG@20",
    }
    table = Table(
        "slice", "metric", name, title, "difference", "95%", "p", "users", title=f"{name} - {title}, paired t-test",
        title_justify="left",
    )  # fmt: skip
    for test in tests:
        if test.metric in headings:
            ends = f"{test.low:+.4f} to {test.high:+.4f}"
            cells = (f"{test.first:.4f}", f"{test.second:.4f}", f"{test.difference:+.4f}", ends, f"{test.p_value:.3g}")
            table.add_row(test.slice_name, headings[test.metric], *cells, f"{test.users:,}")
    if table.row_count:
        console.print(table)
    else:
        say(f"{name}: no two users of the run's evaluation are judged here, so there is no paired test")


def _refuse_foreign(path: Path) -> None:
    """Refuses to replace something that is not a file, e.g. a folder, by a result."""
    if os.path.lexists(path) and not path.is_file():
        raise RunError(f"{path}: is no file, so it is not replaced; move it away, or give the result another --name")
