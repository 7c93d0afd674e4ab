"""frontier: measures what a share of cold items in the lists costs and gains."""

from __future__ import annotations

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.errors import ConfigError
from m3csr_tf.experiments import frontier as frontiers
from m3csr_tf.sampling.training_data import item_features
from m3csr_tf.training import runs
from m3csr_tf.training.vectors import VectorEncoder
from m3csr_tf.util.progress import progress
from m3csr_tf.verbs.console import console, say
from m3csr_tf.verbs.load_run import load_run, vectors_of


def frontier(config: Config, split: str = columns.VAL) -> list[frontiers.Point]:
    """Measures what shares of cold items in the lists cost and gain, and writes frontier.csv and frontier.png.

    Args:
      config: names the run.
      split: the split whose clicks are used.

    Returns:
      The measurements, one for each share.

    Raises:
      ConfigError: the model has no popularity bias, which a release needs to give cold items a share.
      RunError: the run cannot be opened (`load_run`), or its folder cannot be written.
    """
    trained = load_run(config, judged=True)
    if trained.model.popularity_bias is None:
        raise ConfigError(
            f"{config.run.name}: {trained.model.title} has no popularity bias, so a release cannot give new items a "
            "share of the lists, and there is no frontier to choose on; it is for models that have one, e.g. M3CSR"
        )
    runs.check_figures_fit(trained)
    encoder = VectorEncoder(trained.model, item_features(trained.prepared))
    vectors = vectors_of(trained, encoder)
    with progress("judging shares of new items, shares") as stage:
        points = frontiers.frontier(trained.prepared, *vectors, split, config, on_progress=stage)
    with runs.figures_of(trained):
        written = frontiers.write(config.run_folder, points)
    for table in frontiers.tables(points, split):
        console.print(table)
    say(f"the same as a table and a plot: {', '.join(map(str, written))}")
    return points
