"""Evaluates a final fit on train and validation, on the test clicks, beside the run that chose its settings.

The comparison shows whether more training clicks help. A final fit on all clicks leaves none to evaluate it on.
"""

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
"""The metrics by which both are compared."""


@dataclass(frozen=True)
class FinalOnTest:
    """The evaluation of a final fit on the test clicks.

    Attributes:
      run: name of the final fit.
      steps: number of steps for which it was trained.
      evaluation: its evaluation on test.
      tests: metric -> paired test of the final fit (first) against the run that chose (second).
    """

    run: str
    steps: int
    evaluation: Evaluation
    tests: dict[str, PairedTest]

    def to_json(self) -> dict[str, Any]:
        """Returns the evaluation and the tests in the form of metrics.json."""
        tests = {metric: asdict(test) for metric, test in self.tests.items()}
        return {"run": self.run, "steps": self.steps, columns.TEST: self.evaluation.to_json(), "against_choice": tests}

    def in_words(self) -> str:
        """Returns the metrics of both and their differences in one line."""
        lines = [
            f"{metric} {test.first:.4f} against {test.second:.4f} of the run that chose (difference "
            f"{test.difference:+.4f}, 95% interval {test.low:+.4f} to {test.high:+.4f}, p = {test.p_value:.3g})"
            for metric, test in self.tests.items()
        ]
        return f"final fit {self.run} on the test clicks: {'; '.join(lines)}"


def final_on_test(trained: TrainedRun, chosen: Evaluation) -> FinalOnTest | None:
    """Evaluates the final fit of a run on the test clicks, if it was trained without them.

    Args:
      trained: the run that chose the settings of the final fit.
      chosen: the evaluation of that run on test.

    Returns:
      The evaluation; None if no final fit is asked for (`training.final_fit`), or one on all clicks, which no clicks
      are left to judge.

    Raises:
      RunError: the final fit is missing or unfinished, or belongs to an earlier training of the run (`load_released`).
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
