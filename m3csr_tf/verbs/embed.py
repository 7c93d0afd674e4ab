"""embed: computes item vectors with a release."""

from __future__ import annotations

from pathlib import Path

from m3csr_tf.batch.embedding import embed as embed_items
from m3csr_tf.batch.items import FileOfItems
from m3csr_tf.config import Config
from m3csr_tf.releases.inbox import columns_of
from m3csr_tf.releases.release import open_release
from m3csr_tf.training import run_files
from m3csr_tf.util.progress import progress
from m3csr_tf.verbs.batch_jobs import engine_of, parts_made, print_missing
from m3csr_tf.verbs.console import say


def embed(config: Config) -> Path:
    """Computes item vectors with the release, for a file of items or for all items of the release.

    Returns:
      The path of the link to the folder of the vectors, which exists once all parts are there.
    """
    with progress("opening the release"):
        released = open_release(config.release_folder)
    path, output = config.embed.items, config.embed.output or config.run_folder / run_files.ITEM_VECTORS
    items = None if path is None else FileOfItems(path, columns_of(released), released.modalities)
    done = embed_items(released, items, output, config.embed, engine_of(config, config.embed))
    if done.missing:
        print_missing(done, config.embed)
        return output
    say(f"{done.rows:,} item vectors of {released.width} numbers in {done.output} ({parts_made(done)})")
    if not done.made:
        say("these vectors were made before; embed.overwrite=true makes them again")
    return output
