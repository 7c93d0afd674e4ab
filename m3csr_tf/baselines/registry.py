"""All baselines by name, the ones of a tuned comparison, and their vectors with the settings chosen for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from m3csr_tf.baselines.content_knn import CONTENT_KNN
from m3csr_tf.baselines.ease import EASE
from m3csr_tf.baselines.ials import IALS
from m3csr_tf.baselines.item_knn import ITEM_KNN
from m3csr_tf.baselines.log import Baseline, Log
from m3csr_tf.baselines.popularity import POPULARITY
from m3csr_tf.baselines.random_order import RANDOM_ORDER
from m3csr_tf.baselines.ridge import RIDGE
from m3csr_tf.baselines.ridge_ials import RIDGE_IALS
from m3csr_tf.baselines.rp3beta import RP3BETA
from m3csr_tf.baselines.rp3beta_content import RP3BETA_CONTENT
from m3csr_tf.baselines.search import ChosenSettings, choose
from m3csr_tf.baselines.stored import Stored
from m3csr_tf.baselines.truth import TRUTH
from m3csr_tf.baselines.user_knn import USER_KNN
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.ranking.full_ranking import Vectors
from m3csr_tf.util.progress import progress

BASELINES: dict[str, Baseline] = {
    "popularity": POPULARITY,
    "random": RANDOM_ORDER,
    "item_knn": ITEM_KNN,
    "user_knn": USER_KNN,
    "rp3beta": RP3BETA,
    "rp3beta_content": RP3BETA_CONTENT,
    "ease": EASE,
    "ials": IALS,
    "content_knn": CONTENT_KNN,
    "ridge": RIDGE,
    "ridge_ials": RIDGE_IALS,
    "truth": TRUTH,
}
CEILING = "truth"
"""The name of the ceiling, which is not a rival: no model can be expected to exceed it."""
TUNED = tuple(name for name in BASELINES if name != "rp3beta_content")
"""The baselines that the word `tuned` stands for; `truth` is included only for the synthetic world."""

_SEED = 0
"""Seed of the draws and ties of every search, so that all runs on the same data share one choice of settings."""


class Fitted(NamedTuple):
    """A baseline that is fitted with its chosen settings; `choice` is None if there are no settings to choose."""

    name: str
    vectors: Vectors
    choice: ChosenSettings | None


def named(names: str | Sequence[str], prepared: Prepared) -> list[str]:
    """Returns the names of the baselines that a word or a list of names stands for on this data."""
    if names != "tuned":
        return list(names)
    return [name for name in TUNED if name != CEILING or prepared.truth() is not None]


def fitted(
    names: Sequence[str],
    prepared: Prepared,
    runs: Path,
    most_users: int | None,
    log_line: Callable[[str], None],
    weighted: bool = False,
) -> Iterator[Fitted]:
    """Tunes and fits baselines one after the other, so that the vectors of only one are in memory.

    A search that has been made before on the same data is not repeated (`stored`). A baseline for which the log is too
    large is left out, and `log_line` gets a line that says so.

    Args:
      names: names of the baselines.
      prepared: the prepared data.
      runs: the folder of all runs, in which chosen settings are stored.
      most_users: largest number of validation users; None takes all.
      log_line: prints or logs a line.
      weighted: whether the baselines that can count clicks by their weights do so; `log_line` tells of the others.

    Raises:
      InputError: `weighted` is asked for, and the clicks do not differ in weight.
    """
    if weighted and not prepared.weighted:
        raise InputError(
            f"{prepared.folder}: evaluation.weighted_baselines=true, but the interactions do not differ in weight; "
            "give them a column weight, set data.events, or leave it out"
        )
    wanted = []
    for name in names:
        reason = left_out(name, prepared)
        if reason is None:
            wanted.append(name)
        else:
            log_line(f"{name} is left out: {reason}")
    if not wanted:
        return
    with progress("reading the clicks for the baselines"):
        logs = {False: Log.of(prepared)}
        if weighted:
            logs[True] = Log.of(prepared, weighted=True)
    by_clicks = [name for name in wanted if not BASELINES[name].takes_weights]
    if weighted and by_clicks:
        log_line(f"evaluation.weighted_baselines: of {', '.join(by_clicks)} there is nothing to weigh")
    tuners = {
        of_weights: _Tuner(prepared, log, Stored(runs, prepared, most_users, _SEED, of_weights), most_users, log_line)
        for of_weights, log in logs.items()
    }
    for name in wanted:
        of_weights = weighted and BASELINES[name].takes_weights
        choice = tuners[of_weights].choice(name)
        with progress(f"fitting {name}"):
            vectors = BASELINES[name].fit(logs[of_weights], choice.settings if choice else {})
        yield Fitted(name, vectors, choice)


def left_out(name: str, prepared: Prepared) -> str | None:
    """Returns why a baseline is not available on this data, in words, or None if it is."""
    if name == CEILING and prepared.truth() is None:
        return "only data.format=world knows its truth"
    counts = (
        len(prepared.users) - FIRST_ROW,
        len(prepared.items) - FIRST_ROW,
        int(prepared.train_clicks.sum()),
    )
    baseline = BASELINES[name]
    if baseline.needs is not None and (reason := left_out(baseline.needs, prepared)) is not None:
        return f"it needs {baseline.needs}, and that takes {reason}"
    return baseline.limits.exceeded(*counts)


class _Tuner:
    def __init__(
        self, prepared: Prepared, log: Log, stored: Stored, most_users: int | None, log_line: Callable[[str], None]
    ) -> None:
        self._prepared, self._log, self._stored, self._most_users, self._log_line = (
            prepared,
            log,
            stored,
            most_users,
            log_line,
        )
        self._found: dict[str, ChosenSettings | None] = {}

    def choice(self, name: str) -> ChosenSettings | None:
        """Returns the choice made in this call, stored by an earlier one, or searched for now."""
        if name not in self._found:
            self._found[name] = self._choice(name)
        return self._found[name]

    def _choice(self, name: str) -> ChosenSettings | None:
        baseline = BASELINES[name]
        grid = list(baseline.grid(self._log))
        if baseline.needs is not None:
            first = self.choice(baseline.needs)
            grid = [{baseline.needs: first.settings if first else {}, **settings} for settings in grid]
        if len(grid) == 1 and not grid[0]:
            return None
        known = self._stored.read(name, grid)
        if known is not None:
            self._log_line(f"{name}: settings as chosen before on the same data ({self._stored.path(name)})")
            return known
        self._log_line(f"{name}: trying {len(grid)} settings on {baseline.selected_on} ...")
        with progress(f"choosing the settings of {name}, settings") as report:
            choice = choose(baseline, grid, self._prepared, self._log, self._most_users, _SEED, report)
        self._stored.write(name, grid, choice)
        return choice
