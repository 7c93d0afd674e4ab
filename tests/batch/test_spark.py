"""The same jobs on Spark: a real cluster of two worker processes on this machine, one of which is killed on the way."""

from __future__ import annotations

import operator
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from m3csr_tf import columns
from m3csr_tf.batch import spark_session
from m3csr_tf.batch.embedding import embed
from m3csr_tf.batch.items import FileOfItems
from m3csr_tf.batch.job_folder import JobFolder
from m3csr_tf.batch.query_items import FileOfContent, FileOfIds
from m3csr_tf.batch.retrieval import retrieve
from m3csr_tf.batch.similar import similar
from m3csr_tf.batch.spark import SparkEngine
from m3csr_tf.batch.users import FileOfUsers, PreparedUsers
from m3csr_tf.cli import app
from m3csr_tf.config import ColdConfig, EmbedConfig, RetrieveConfig, SimilarConfig, SparkConfig
from m3csr_tf.data.audience import Audience
from m3csr_tf.errors import EngineError, InputError

_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Half the processor time of JVMs that live for a minute."""
CLUSTER = SparkConfig(
    master="local-cluster[2,1,1024]",
    conf={
        "spark.driver.extraJavaOptions": _JAVA,
        "spark.executor.extraJavaOptions": _JAVA,
        "spark.executor.memory": "512m",
        "spark.driver.memory": "512m",
        "spark.ui.enabled": False,
        "spark.task.maxFailures": 2,
    },
)
LISTS = RetrieveConfig(top_n=5, batch_size=16, shard_users=40)
VECTORS = EmbedConfig(batch_size=16, shard_items=40)
SIMILAR = SimilarConfig(top_n=5, batch_size=16, shard_items=40, by="content")


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkEngine]:
    """The engine on a cluster that all tests of this module share."""
    try:
        spark_session.require_spark()
    except EngineError as error:
        pytest.skip(str(error))
    with spark_session.session(CLUSTER):
        yield SparkEngine(CLUSTER)


@pytest.fixture
def users(tmp_path: Path, untrained_run: Any) -> Path:
    """A file of 300 users: eight parts."""
    items = untrained_run.prepared.items.known
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            columns.USER_ID: [f"n{row}" for row in range(300)],
            columns.HISTORY: [list(rng.choice(items, 5, replace=False)) for _ in range(300)],
            columns.EXCLUSIONS: [list(rng.choice(items, 9, replace=False)) for _ in range(300)],
        }
    )
    path = tmp_path / "users.parquet"
    frame.to_parquet(path, row_group_size=30)
    return path


def files(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.iterdir() if path.suffix == ".parquet"}


def left_over(folder: Path) -> set[str]:
    """What lies in a job's folder besides parts."""
    return {path.name for path in folder.iterdir() if not path.name.startswith("part-")}


def test_lists_are_the_local_jobs_bit_for_bit(spark: SparkEngine, release: Any, users: Path, tmp_path: Path) -> None:
    retrieve(release, FileOfUsers(users), tmp_path / "local", LISTS)
    done = retrieve(release, FileOfUsers(users), tmp_path / "spark", LISTS, engine=spark)
    assert (done.inputs, done.rows, done.made, done.missing) == (300, 1500, 8, 0)
    assert files(tmp_path / "spark") == files(tmp_path / "local")
    assert left_over(done.folder) == {"_job.json", "_working"}


def test_lists_of_prepared_users_are_the_local_jobs_too(
    spark: SparkEngine, release: Any, untrained_run: Any, tmp_path: Path
) -> None:
    prepared = untrained_run.prepared
    audience = Audience(prepared, untrained_run.config, columns.SPLITS)
    for output, others in (("local", {}), ("spark", {"engine": spark})):
        retrieve(release, PreparedUsers(prepared, audience), tmp_path / output, LISTS, **others)
    assert files(tmp_path / "spark") == files(tmp_path / "local")
    assert left_over((tmp_path / "spark").resolve()) == {"_job.json", "_working"}


def test_filters_and_shares_hold_on_spark(spark: SparkEngine, release: Any, users: Path, tmp_path: Path) -> None:
    block = tmp_path / "block.txt"
    block.write_text("\n".join(release.index.ids[:40]))
    # In the middle of the world's month: half of its videos are yet to be published, and some are too old.
    ages = {"max_age_days": 10.0, "now": 1_700_000_000.0 + 15 * 86_400}
    filtered = LISTS.model_copy(update={"block": block, "cold_quota": 0.4, **ages})
    cold = ColdConfig(max_age_hours=48, max_views=20)
    retrieve(release, FileOfUsers(users), tmp_path / "local", filtered, cold=cold)
    half = filtered.model_copy(update={"shard": "1/2"})
    assert retrieve(release, FileOfUsers(users), tmp_path / "spark", half, engine=spark, cold=cold).missing == 4
    other = half.model_copy(update={"shard": "2/2"})
    retrieve(release, FileOfUsers(users), tmp_path / "spark", other, cold=cold)
    assert files(tmp_path / "spark") == files(tmp_path / "local")


def test_rules_of_lists_hold_on_spark(spark: SparkEngine, release: Any, users: Path, tmp_path: Path) -> None:
    ruled = LISTS.model_copy(update={"near_duplicates": 0.9, "shard_users": 150})
    retrieve(release, FileOfUsers(users), tmp_path / "local", ruled)
    retrieve(release, FileOfUsers(users), tmp_path / "spark", ruled, engine=spark)
    assert files(tmp_path / "spark") == files(tmp_path / "local")
    plain = ruled.model_copy(update={"near_duplicates": None})
    retrieve(release, FileOfUsers(users), tmp_path / "plain", plain)
    assert not pd.read_parquet(tmp_path / "plain").equals(pd.read_parquet(tmp_path / "local"))


def test_item_vectors_are_the_local_jobs_bit_for_bit(
    spark: SparkEngine, release: Any, untrained_run: Any, tmp_path: Path
) -> None:
    catalogue = release.items.catalogue(release.items.ids)
    frame = catalogue.frame.assign(**{name: list(vectors) for name, vectors in catalogue.content.items()}, view_count=7)
    frame.to_parquet(tmp_path / "catalogue.parquet", row_group_size=30)
    of_file = FileOfItems(
        tmp_path / "catalogue.parquet", {name: name for name in release.modalities}, release.modalities
    )
    for name, items in (("all", None), ("file", of_file)):
        embed(release, items, tmp_path / name / "local", VECTORS)
        done = embed(release, items, tmp_path / name / "spark", VECTORS, spark)
        assert (done.rows, done.made, done.missing) == (len(frame), 3, 0)
        assert files(tmp_path / name / "spark") == files(tmp_path / name / "local")


def test_similar_items_are_the_local_jobs_bit_for_bit(spark: SparkEngine, release: Any, tmp_path: Path) -> None:
    catalogue = release.items.catalogue(release.items.ids)
    frame = catalogue.frame.assign(**{name: list(vectors) for name, vectors in catalogue.content.items()}, view_count=7)
    frame.to_parquet(tmp_path / "catalogue.parquet", row_group_size=30)
    (tmp_path / "ids.txt").write_text("\n".join(release.items.ids[:90]))
    by_name = {name: name for name in release.modalities}
    for name, queries, parts in (
        ("all", None, 3),
        ("ids", FileOfIds(tmp_path / "ids.txt"), 3),
        ("content", FileOfContent(tmp_path / "catalogue.parquet", by_name, release.modalities), 3),
    ):
        similar(release, queries, tmp_path / name / "local", SIMILAR)
        done = similar(release, queries, tmp_path / name / "spark", SIMILAR, spark)
        assert (done.made, done.missing) == (parts, 0)
        assert files(tmp_path / name / "spark") == files(tmp_path / name / "local")


def processes() -> dict[int, tuple[int, str]]:
    """Every process: its parent and its command."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            found[int(folder.name)] = parent, (folder / "cmdline").read_text().replace("\0", " ")
        except (OSError, ValueError):
            continue
    return found


def below(process: int) -> dict[int, str]:
    """Processes that a process has started, and those that they have."""
    there, found = processes(), {process: ""}
    while more := {one: command for one, (parent, command) in there.items() if parent in found and one not in found}:
        found |= more
    del found[process]
    return found


def kill_an_executor() -> None:
    """Ends one of this process's executors, Java and Python, at once."""
    executors = [one for one, command in below(os.getpid()).items() if "CoarseGrainedExecutorBackend" in command]
    assert len(executors) == 2
    for one in [*below(executors[0]), executors[0]]:
        os.kill(one, signal.SIGKILL)


def test_an_executor_that_is_killed_on_the_way_changes_nothing(
    spark: SparkEngine, release: Any, users: Path, tmp_path: Path
) -> None:
    small = LISTS.model_copy(update={"shard_users": 20})
    retrieve(release, FileOfUsers(users), tmp_path / "local", small)
    when_killed: list[int] = []

    def watch(advance: Callable[[int], object], job: JobFolder) -> Callable[[int], object]:
        def watched(count: int) -> None:
            if not when_killed:
                (job.folder / f".{job.path(0).name}.dead.part").write_bytes(b"half")
                kill_an_executor()
                when_killed.append(len(job.missing()))
            advance(count)

        return watched

    def engine(work: Any, job: JobFolder, parts: Any, advance: Any) -> None:
        spark(work, job, parts, watch(advance, job))

    done = retrieve(release, FileOfUsers(users), tmp_path / "spark", small, engine=engine)
    assert when_killed[0] > 1
    assert (done.made, done.missing) == (15, 0)
    assert files(tmp_path / "spark") == files(tmp_path / "local")
    assert left_over(done.folder) == {"_job.json", "_working"}


def test_an_error_in_a_users_row_is_one_message_and_exit_code_2(
    spark: SparkEngine, release: Any, untrained_run: Any, users: Path, tmp_path: Path
) -> None:
    frame = pd.read_parquet(users)
    frame["history"] = [[1.5] if row == 250 else [] for row in range(len(frame))]
    frame.to_parquet(users)
    (tmp_path / "config.yaml").write_text(untrained_run.config.to_yaml())
    output = tmp_path / "lists"
    settings = [f"retrieve.users={users}", f"retrieve.output={output}", "retrieve.engine=spark"]
    done = CliRunner().invoke(app, ["retrieve", "-c", str(tmp_path / "config.yaml"), *settings])
    assert done.exit_code == 2
    assert done.stderr.count("error:") == 1 and "Traceback" not in done.output
    assert "history in data row 251 holds 1.5; expected a list of item ids" in " ".join(done.stderr.split())
    assert not output.exists()


def test_what_workers_do_not_see_is_one_message(spark: SparkEngine, release: Any, users: Path, tmp_path: Path) -> None:
    def engine(work: Any, job: JobFolder, parts: Any, advance: Any) -> None:
        class Elsewhere:
            paths = (Path("/nowhere/release"),)

            def shared(self, path: Path) -> Any:
                return self

        spark(Elsewhere(), job, parts, advance)  # type: ignore[arg-type]

    with pytest.raises(InputError, match=r"/nowhere/release: Spark's worker on .* does not see it; release, inputs"):
        retrieve(release, FileOfUsers(users), tmp_path / "lists", LISTS, engine=engine)


def test_an_error_that_nobody_thought_of_is_one_message_after_spark_has_tried_again(
    spark: SparkEngine, release: Any, users: Path, tmp_path: Path
) -> None:
    class Broken:
        paths = ()

        def shared(self, path: Path) -> Any:
            return self

        def __reduce__(self) -> Any:
            return operator.floordiv, (1, 0)

    def engine(work: Any, job: JobFolder, parts: Any, advance: Any) -> None:
        spark(Broken(), job, parts, advance)  # type: ignore[arg-type]

    whole = LISTS.model_copy(update={"shard_users": 300})
    with pytest.raises(EngineError, match=r"Spark gave a part up \(ZeroDivisionError: integer division"):
        retrieve(release, FileOfUsers(users), tmp_path / "lists", whole, engine=engine)


def test_without_java_one_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("pyspark")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(EngineError, match=r"needs Java 17 or later, and there is no .*install openjdk-17"):
        spark_session.require_spark()


def test_an_old_java_is_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("pyspark")
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_392\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(EngineError, match="is Java 8: let JAVA_HOME name"):
        spark_session.require_spark()


def test_without_pyspark_one_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(EngineError, match=r"pip install 'm3csr_tf\[spark\]'"):
        spark_session.require_spark()
