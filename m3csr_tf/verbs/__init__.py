"""What the command line can do, one function a verb: each takes a configuration and prints what it did."""

from m3csr_tf.verbs.comparison import ablations, seeds, sweep
from m3csr_tf.verbs.evaluation import evaluate, frontier
from m3csr_tf.verbs.explanation import explain
from m3csr_tf.verbs.nightly import run_all
from m3csr_tf.verbs.refreshing import refresh
from m3csr_tf.verbs.releases import list_versions, prune, release, rollback, verify
from m3csr_tf.verbs.serving import embed, retrieve
from m3csr_tf.verbs.simulate import simulate
from m3csr_tf.verbs.suites import suite
from m3csr_tf.verbs.system_errors import system_errors
from m3csr_tf.verbs.training import prepare, train

__all__ = [
    "ablations",
    "embed",
    "evaluate",
    "explain",
    "frontier",
    "list_versions",
    "prepare",
    "prune",
    "refresh",
    "release",
    "retrieve",
    "rollback",
    "run_all",
    "seeds",
    "simulate",
    "suite",
    "sweep",
    "system_errors",
    "train",
    "verify",
]
