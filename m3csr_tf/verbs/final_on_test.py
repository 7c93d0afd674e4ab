"""Whether validation clicks in training help: a final fit on train and validation, judged on test beside its choice."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from m3csr_tf import columns
from m3csr_tf.evaluation import metrics
from m3csr_tf.evaluation.report import Evaluation
from m3csr_tf.evaluation.significance import PairedTest, compare
from m3csr_tf.ranking.full_ranking import Vectors
from m3csr_tf.training.runs import TrainedRun
from m3csr_tf.verbs.evaluated_systems import evaluated_on
from m3csr_tf.verbs.load_run import load_released
from m3csr_tf.verbs.released_vectors import released

METRICS = (metrics.name(metrics.RECALL, 20), metrics.name(metrics.NDCG, 20))


@dataclass(frozen=True)
class FinalOnTest:
    """A final fit on the test clicks.

    Attributes:
      run: its name.
      steps: that it was trained for.
      evaluation: of it.
      tests: metric -> the final fit (first) against the run that chose (second), paired by user.
    """

    run: str
    steps: int
    evaluation: Evaluation
    tests: dict[str, PairedTest]

    def to_json(self) -> dict[str, Any]:
        """As metrics.json has it."""
        tests = {metric: asdict(test) for metric, test in self.tests.items()}
        return {"run": self.run, "steps": self.steps, columns.TEST: self.evaluation.to_json(), "against_choice": tests}

    def in_words(self) -> str:
        """A line of the figures."""
        lines = [
            f"{metric} {test.first:.4f} against {test.second:.4f} of the run that chose (difference "
            f"{test.difference:+.4f}, 95% interval {test.low:+.4f} to {test.high:+.4f}, p = {test.p_value:.3g})"
            for metric, test in self.tests.items()
        ]
        return f"final fit {self.run} on the test clicks: {'; '.join(lines)}"


def final_on_test(trained: TrainedRun, chosen: Evaluation) -> FinalOnTest | None:
    """Judges the final fit of a run on the test clicks, where it has left them out of its training.

    Args:
      trained: the run that chose.
      chosen: its evaluation on test.

    Returns:
      None where no final fit is asked for (`training.final_fit`), or one on all clicks, which nothing can judge.

    Raises:
      RunError: the final fit is missing or unfinished (`load_released`).
    """
    training = trained.config.training
    if not training.final_fit or training.final_clicks == "all":
        return None
    final = load_released(trained.config)
    users, items, _ = released(final)
    name = f"{final.model.title}, final fit"
    evaluation = evaluated_on(name, Vectors(users, items), columns.TEST, final, trained.config.evaluation)
    tests = {metric: compare(evaluation, chosen, metric) for metric in METRICS}
    return FinalOnTest(final.config.run.name, int(final.finished["steps"]), evaluation, tests)
