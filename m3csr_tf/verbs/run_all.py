"""run_all: runs every step of the pipeline."""

from __future__ import annotations

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.training import run_files
from m3csr_tf.verbs.console import say
from m3csr_tf.verbs.evaluate import evaluate
from m3csr_tf.verbs.release import publish
from m3csr_tf.verbs.report import report
from m3csr_tf.verbs.retrieve import retrieve
from m3csr_tf.verbs.train import train


def run_all(config: Config) -> None:
    """Prepares, trains, evaluates, releases, retrieves and reports, then prints where each result lies."""
    train(config)
    evaluate(config)
    publish(config)
    output = retrieve(config)
    page = report(config)
    for what, where in {
        "configuration, versions": config.run_folder / run_files.CONFIG_FILE,
        "prepared data": config.run_folder / run_files.PREPARED_FOLDER,
        "training logs (TensorBoard)": config.run_folder / run_files.LOGS,
        "metrics": config.run_folder / run_files.METRICS_FILE,
        "user tower": config.release_folder / columns.USER_TOWER,
        "item tower": config.release_folder / columns.ITEM_TOWER,
        "ScaNN index": config.release_folder / columns.INDEX,
        "release manifest": config.release_folder / columns.MANIFEST,
        "top-N lists": output,
        "report, to open in a browser": page,
    }.items():
        say(f"{what}: {where}")
