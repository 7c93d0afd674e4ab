"""The final fit: the recipe of a finished run, fitted on more clicks for as many epochs as validation has chosen.

A split leaves its latest clicks out of training, so that they can judge. Once they have chosen, a run of its own,
NAME-final, trains on them too. It chooses nothing: initial weights, epochs and the shares of exposure are those of the
run that chose, whose metrics stay the only ones. An epoch is a pass over the training clicks (`Budget`), so that steps
grow with the clicks, and the schedule of the learning rate is stretched alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m3csr_tf.config import Config, with_settings
from m3csr_tf.errors import InputError, RunError
from m3csr_tf.training import run_files, runs
from m3csr_tf.training.budget import Budget
from m3csr_tf.training.finished import FINISHED_FILE, SELECTED_BY
from m3csr_tf.util.files import sha256
from m3csr_tf.util.names import check_room

FINAL_FIT = "final_fit"
"""The field of finished.json, and of a release's manifest, that says what run a final fit is of."""

ALL_CLICKS = "all"
"""`training.final_clicks` of a final fit which leaves no clicks to judge it."""


def name_of(run: str) -> str:
    """Name of the final fit of a run."""
    return f"{run}-final"


def final_settings(config: Config, finished: dict[str, Any]) -> Config:
    """The settings of the final fit of a run.

    Args:
      config: the run's settings, with `training.final_clicks`.
      finished: contents of its finished.json.

    Raises:
      ConfigError: the run's name is too long for that of its final fit.
    """
    name = name_of(config.run.name)
    check_room("run.name", len(config.run.name), name)
    return with_settings(
        config,
        {
            "run.name": name,
            "run.release_name": config.run.release_name or config.run.name,
            "split.train_on": config.training.final_clicks,
            "training.final_fit": False,
            "training.final_of": config.run.name,
            **finished.get("initialisation_settings", {}),
        },
    )


def choice_digest(folder: Path) -> str:
    """What ties a final fit to the training that chose: SHA-256 of that run's finished.json, hex."""
    return sha256(folder / FINISHED_FILE)


@dataclass(frozen=True)
class Choice:
    """What a final fit takes over.

    Attributes:
      run: the name of the run that chose.
      digest: of its training (`choice_digest`).
      clicks: those that the final fit trains on (`split.train_on`).
      finished: contents of that run's finished.json.
    """

    run: str
    digest: str
    clicks: str
    finished: dict[str, Any]

    @classmethod
    def of(cls, config: Config) -> Choice:
        """The choice of the run that `training.final_of` names.

        Args:
          config: of the final fit.

        Raises:
          RunError: that run is missing or unfinished, is a final fit itself, or has other settings.
        """
        name = config.training.final_of
        assert name is not None
        folder = config.run.folder / name
        try:
            before, _, finished = runs.read_finished(folder)
        except (InputError, RunError) as error:
            raise RunError(f"training.final_of={name}: {error}") from None
        if FINAL_FIT in finished:
            of = finished[FINAL_FIT]["run"]
            raise RunError(f"training.final_of={name}: that run is a final fit itself; name the one that chose, {of}")
        asked = before.training.model_copy(update={"final_clicks": config.split.train_on, "final_fit": False})
        expected = final_settings(before.model_copy(update={"training": asked}), finished)
        found = run_files.differences(expected, config)
        if found:
            raise RunError(
                f"training.final_of={name}: a final fit has the settings of the run that chose, but here differ "
                f"{'; '.join(found[:4])}; pass the same, or train a run with these and then its final fit"
            )
        return cls(name, choice_digest(folder), config.split.train_on, finished)

    def budget(self, clicks: int) -> Budget:
        """As many epochs as led to the best validation; no step where that was of the initial weights.

        Args:
          clicks: training clicks of the final fit.
        """
        chose, best = self.finished["budget"], int(self.finished["best_step"])
        share = clicks / chose["clicks"]
        steps = max(min(best, 1), round(best * share))
        every = max(1, round(chose["evaluate_every"] * share))
        batch = chose["batch_size"]
        return Budget(steps, every, max(1, steps), steps * batch / clicks, clicks, batch)

    def schedule_steps(self, clicks: int) -> int:
        """Steps at whose end the schedule of the learning rate ends; `clicks` as above."""
        chose = self.finished["budget"]
        return max(self.budget(clicks).steps, round(chose["steps"] * clicks / chose["clicks"]))

    def sentence(self, budget: Budget) -> str:
        """What is printed before the first step."""
        chose = self.finished["budget"]
        epochs = self.finished["best_step"] * chose["batch_size"] / chose["clicks"]
        return (
            f"final fit of {self.run}: {budget.steps:,} steps on {budget.clicks:,} clicks, {epochs:.3g} epochs as at "
            f"its best step, {self.finished['best_step']:,} on {chose['clicks']:,} clicks; nothing is validated"
        )

    def facts(self) -> dict[str, Any]:
        """What finished.json says of it: the figures are those of the run that chose."""
        names = ["recall@20", "ndcg@20", "initial_recall@20"]
        if SELECTED_BY in self.finished:
            names += [SELECTED_BY, self.finished[SELECTED_BY]]
        figures = {name: self.finished[name] for name in names}
        chosen = {"run": self.run, "finished": self.digest, "clicks": self.clicks}
        return figures | {FINAL_FIT: chosen | {"best_step": self.finished["best_step"]}}
