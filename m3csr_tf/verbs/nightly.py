"""run_all: every step in one go."""

from __future__ import annotations

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.training import runs
from m3csr_tf.verbs.console import say
from m3csr_tf.verbs.evaluation import evaluate
from m3csr_tf.verbs.releases import release
from m3csr_tf.verbs.report import report
from m3csr_tf.verbs.serving import retrieve
from m3csr_tf.verbs.training import train


def run_all(config: Config) -> None:
    """prepare, train, evaluate, release, retrieve and report, then where everything lies, a line each."""
    train(config)
    evaluate(config)
    release(config)
    output = retrieve(config)
    page = report(config)
    for what, where in {
        "configuration, versions": config.run_folder / runs.CONFIG_FILE,
        "prepared data": config.run_folder / runs.PREPARED_FOLDER,
        "training logs (TensorBoard)": config.run_folder / runs.LOGS,
        "metrics": config.run_folder / runs.METRICS_FILE,
        "user tower": config.release_folder / columns.USER_TOWER,
        "item tower": config.release_folder / columns.ITEM_TOWER,
        "ScaNN index": config.release_folder / columns.INDEX,
        "release manifest": config.release_folder / columns.MANIFEST,
        "top-N lists": output,
        "report, to open in a browser": page,
    }.items():
        say(f"{what}: {where}")
