"""What the batch jobs of the verbs have in common: the choice of the engine, and messages about parts."""

from __future__ import annotations

from m3csr_tf.batch import job as jobs
from m3csr_tf.batch import spark
from m3csr_tf.batch.job import Engine, JobStatus
from m3csr_tf.config import Config, JobConfig
from m3csr_tf.verbs.console import say


def engine_of(config: Config, job: JobConfig) -> Engine:
    """Returns the engine that makes the parts: this process, or a Spark cluster."""
    return jobs.here if job.engine == "local" else spark.SparkEngine(config.spark)


def parts_made(done: JobStatus) -> str:
    """Returns a text on how many parts this process has made."""
    return f"{done.made:,} of {done.parts:,} parts made now" if done.made else "all there already"


def print_missing(done: JobStatus, config: JobConfig) -> None:
    """Reports that parts of other shards are missing, and what to do about them."""
    say(
        f"shard {config.shard} is done: {parts_made(done)}; {done.missing:,} parts of other shards are missing, and "
        f"{done.output} is put in place with the last of them; on other disks, copy the parts into "
        f"{done.folder} and run this again"
    )
