"""Examples a second of the input pipeline alone, on a log read in shards, beside other ways to store examples.

python benchmarks/input_pipeline.py

The pipeline draws whole training batches: positives, masked histories, negatives, what is a known positive, features of
the distinct items. Beside it, files that hold every example whole (user, positive, history), read, shuffled and batched
and nothing more: TFRecord parsed after batching, and Arrow batches. One thread each, in turn.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer
from figures import Figure, compared, in_turn, report
from large_log import write_log

from m3csr_tf import columns
from m3csr_tf import config as configuration
from m3csr_tf.config import Config

BATCH = 8192
SHUFFLED = 200_000
CONFIG = Path(__file__).parents[1] / "pipelines" / "configs" / "large_log.yaml"


def main(
    clicks: Annotated[int, typer.Option(help="Rows of the log.")] = 4_000_000,
    rounds: Annotated[int, typer.Option(help="Rounds; medians are printed.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="200,000 rows, three rounds.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Measure the input pipeline."""
    clicks, rounds = (200_000, 3) if quick else (clicks, rounds)
    with tempfile.TemporaryDirectory() as folder:
        write_log(Path(folder) / "log", clicks=clicks, users=clicks // 20, items=max(2000, clicks // 100))
        figures = _measure(Path(folder), clicks, rounds)
    report(f"input pipeline, {clicks:,} clicks, one thread", figures, json_path)


def _measure(folder: Path, clicks: int, rounds: int) -> list[Figure]:
    import tensorflow as tf

    from m3csr_tf.models.m3csr.collation import Collator
    from m3csr_tf.prepare import prepare
    from m3csr_tf.sampling.training_data import TrainingData
    from m3csr_tf.training.runtime import configure
    from m3csr_tf.training.streams import ExampleStream

    settings = [f"data.path={folder / 'log'}", f"data.shard_clicks={clicks // 40}", "data.in_memory_rows=0"]
    settings += ["run.threads=1", f"run.folder={folder}", f"training.batch_size={BATCH}"]
    config = configuration.load(CONFIG, [*settings, f"training.window_clicks={clicks // 4}"])
    configure(config.run)
    prepared = prepare(config)
    data = TrainingData.of(prepared, config)
    assert data.shards is not None
    stream = ExampleStream(data, config, Collator(data, config))
    steps = sum(turn.steps for turn in data.shards.turns(0, stream.examples_per_epoch // BATCH))
    per_epoch = stream.examples_per_epoch
    records, arrow = folder / "examples.tfrecord", folder / "examples.arrow"
    _write_examples(prepared, config, records, arrow)
    slots = config.history.trained
    spec = {name: tf.io.FixedLenFeature([size], tf.int64) for name, size in _sizes(slots).items()}

    def count(dataset: tf.data.Dataset) -> None:
        for _ in dataset:
            pass

    def of_records() -> tf.data.Dataset:
        dataset = tf.data.TFRecordDataset([str(records)]).shuffle(SHUFFLED).batch(BATCH)
        return dataset.map(lambda batch: tf.io.parse_example(batch, spec)).prefetch(2)

    def of_arrow() -> tf.data.Dataset:
        def batches() -> Iterator[np.ndarray]:
            random = np.random.default_rng(0)
            with pa.ipc.open_file(str(arrow)) as reader:
                for number in range(reader.num_record_batches):
                    values = np.stack([column.to_numpy() for column in reader.get_batch(number).columns], axis=1)
                    random.shuffle(values)
                    for start in range(0, len(values), BATCH):
                        yield values[start : start + BATCH]

        width = sum(_sizes(slots).values())
        return tf.data.Dataset.from_generator(
            batches, output_signature=tf.TensorSpec([None, width], tf.int32)
        ).prefetch(2)

    ours = "windows of shards, whole batches"
    seconds = in_turn(
        rounds,
        **{
            ours: lambda: count(stream.dataset(0, steps)),
            "TFRecord parsed after batching, examples alone": lambda: count(of_records()),
            "Arrow batches, examples alone": lambda: count(of_arrow()),
        },
    )
    setting = {"clicks": clicks, "batch": BATCH, "slots": slots}
    figures = compared(per_epoch, "examples/s", seconds, ours, setting)
    stored = {
        "shards (train.parquet)": prepared.folder / "train.parquet",
        "TFRecord": records,
        "Arrow": arrow,
    }
    return figures + [
        Figure(f"on the disk, {name}", "bytes an example", [path.stat().st_size / per_epoch])
        for name, path in stored.items()
    ]


def _sizes(slots: int) -> dict[str, int]:
    return {columns.USER_ROW: 1, columns.ITEM_ROW: 1, columns.SLOTS: slots}


def _write_examples(prepared, config: Config, records: Path, arrow: Path) -> None:  # type: ignore[no-untyped-def]
    """Every training click with its user's history, in random order, in both forms."""
    import tensorflow as tf

    from m3csr_tf.data.audience import Audience

    train = prepared.split(columns.TRAIN).sample(frac=1, random_state=0)
    users = np.unique(train[columns.USER_ROW])
    histories = Audience(prepared, config, (columns.TRAIN,)).histories(users)[:, : config.history.trained]
    lines = histories[np.searchsorted(users, train[columns.USER_ROW])]
    values = np.column_stack([train[columns.USER_ROW], train[columns.ITEM_ROW], lines]).astype(np.int32)
    table = pa.table({f"column_{number}": values[:, number] for number in range(values.shape[1])})
    with pa.ipc.new_file(str(arrow), table.schema) as writer:
        writer.write_table(table, max_chunksize=SHUFFLED)
    with tf.io.TFRecordWriter(str(records)) as writer:
        for line in values:
            feature = {
                columns.USER_ROW: _integers(line[:1]),
                columns.ITEM_ROW: _integers(line[1:2]),
                columns.SLOTS: _integers(line[2:]),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def _integers(values: np.ndarray):  # type: ignore[no-untyped-def]
    import tensorflow as tf

    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


if __name__ == "__main__":
    typer.run(main)
