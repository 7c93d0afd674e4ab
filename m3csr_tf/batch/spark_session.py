"""Provides the Spark session: the active one, or a new one by the configuration, with one message if it fails."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from m3csr_tf.config import SparkConfig
from m3csr_tf.errors import EngineError
from m3csr_tf.util.hidden import HIDDEN, without_password
from m3csr_tf.util.quoting import listed

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JAVA = 17
"""The oldest version of Java on which Spark 4 runs."""
_ADVICE = "give it again, or let spark-defaults.conf hold it"


@contextmanager
def session(config: SparkConfig) -> Iterator[SparkSession]:
    """Yields the active Spark session of this process, or else a new one, which is stopped when the block ends.

    Raises:
      EngineError: pyspark or Java is missing, a secret is not given, or Spark does not start.
    """
    require_spark()
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    if active is not None:
        yield active
        return
    require_secrets(config)
    if config.master is not None and config.master.startswith("local"):
        _stay_on_this_machine()
    builder = SparkSession.builder.appName("m3csr_tf").config("spark.ui.showConsoleProgress", "false")
    if config.master is not None:
        builder = builder.master(config.master)
    for name, value in config.conf.items():
        builder = builder.config(name, value)
    try:
        started = builder.getOrCreate()
    except Exception as error:  # Py4J's exceptions share no base class before its gateway runs.
        reason = str(error) if isinstance(error, PySparkException) else java_message(error)
        where = "" if config.master is None else f" on {without_password(config.master)}"
        message = without_password(reason)
        raise EngineError(f"Spark does not start{where} ({message}); check spark.master and spark.conf") from error
    started.sparkContext.setLogLevel("ERROR")
    try:
        yield started
    finally:
        started.stop()


def require_secrets(config: SparkConfig) -> None:
    """Raises EngineError if a setting is the *** that stands for a secret in the config.yaml of a run."""
    if config.master is not None and f"{HIDDEN}@" in config.master:
        raise EngineError(
            f"spark.master: {HIDDEN} stands for user and password, which no file of a run holds; {_ADVICE}"
        )
    hidden = [name for name, value in config.conf.items() if value == HIDDEN]
    if hidden:
        raise EngineError(
            f"spark.conf: {listed(hidden)}: {HIDDEN} stands for a secret, which no file of a run holds; {_ADVICE}"
        )


def require_spark() -> None:
    """Raises EngineError unless pyspark is installed, and a version of Java on which it runs."""
    try:
        import pyspark  # noqa: F401
    except ImportError:
        raise EngineError("engine spark needs pyspark, which is not installed: pip install 'm3csr_tf[spark]'") from None
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else "java"
    if shutil.which(java) is None:
        raise EngineError(
            f"engine spark needs Java {JAVA} or later, and there is no {java}: install it (Debian, Ubuntu: apt-get "
            f"install openjdk-{JAVA}-jre-headless), or let JAVA_HOME name its folder"
        )
    version_text = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', version_text)
    if found and int(found[1]) < JAVA:
        raise EngineError(
            f"engine spark needs Java {JAVA} or later, and {java} is Java {found[1]}: let JAVA_HOME name the folder "
            "of a later one"
        )


def java_message(error: BaseException) -> str:
    """Returns the first line of a Java error's message, without the class names before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = next((line for line in lines if re.match(r": [\w.$]+(Exception|Error)", line)), lines[0] if lines else "")
    return re.sub(r"^: ([\w$]+\.)+", "", message) or type(error).__name__


def _stay_on_this_machine() -> None:
    """Makes Spark's local workers use this Python, and avoids looking up this machine's name in the network."""
    import pyspark

    os.environ.setdefault("SPARK_HOME", str(Path(pyspark.__file__).parent))
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
