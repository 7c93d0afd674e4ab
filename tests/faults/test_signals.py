"""Signals: SIGTERM and Ctrl-C at any moment end a verb in one message and 143 or 130; the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from kills import running, signalled_after

REPOSITORY = Path(__file__).parents[2]
MOMENTS = int(os.environ.get("M3CSR_SIGNALS", "50"))
"""Signals to verbs in all: a few while they import, most to `prepare`, which takes a second."""
SAID = {
    130: "interrupted; the same command goes on where it stopped\n",
    143: "terminated; the same command goes on where it stopped\n",
}
HALF_WRITTEN = (".part", ".building", ".replaced", ".publishing", ".linking")


def called(world: Path, name: str) -> None:
    """Gives the run another name."""
    tree = yaml.safe_load(world.read_text())
    tree["run"]["name"] = name
    world.write_text(yaml.safe_dump(tree))


def half_written(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.name.startswith(".") and path.name.endswith(HALF_WRITTEN)]


def ends(verb: str, world: Path, number: int, seconds: float) -> int:
    """The exit code of a verb that is signalled, whose one message and folders have been looked at."""
    output = world.with_suffix(".out")
    code = signalled_after(seconds, number, running, verb, world, output)
    said = output.read_text()
    assert code in (0, 128 + number), said
    assert "Traceback" not in said and "Exception ignored" not in said, said
    assert [said.count(message) for message in SAID.values()] == [code == 130, code == 143], said
    assert half_written(world.parent) == []
    return code


@pytest.mark.parametrize(("verb", "share"), [("prepare", 0.78), ("train", 0.08)])
def test_a_signal_at_a_random_moment_ends_in_one_message_and_the_command_goes_on(
    verb: str, share: float, world: Path
) -> None:
    random = np.random.default_rng(len(verb))
    called(world, "first")
    assert ends("prepare", world, signal.SIGTERM, 240) == 0
    began = time.perf_counter()
    assert ends(verb, world, signal.SIGTERM, 240) == 0
    whole = time.perf_counter() - began
    codes = []
    for moment in range(round(share * MOMENTS)):
        called(world, f"tiny-{moment // 2}")  # Every other one goes on with what the one before has left.
        number = signal.SIGINT if moment % 5 == 4 else signal.SIGTERM
        codes.append(ends(verb, world, number, random.uniform(0, whole)))
    assert 143 in codes
    assert ends(verb, world, signal.SIGTERM, 240) == 0


def test_a_batch_job_that_is_signalled_goes_on_where_it_stopped(world: Path, release: Any, tmp_path: Path) -> None:
    tree = yaml.safe_load(world.read_text())
    tree["run"] |= {"release_folder": str(release.folder.parent), "release_name": release.folder.name}
    users = tmp_path / "users.csv"
    users.write_text("user_id,history\n" + "".join(f"u{user},{release.index.ids[user % 9]}\n" for user in range(300)))
    tree["retrieve"] |= {"users": str(users)}
    world.write_text(yaml.safe_dump(tree))
    assert ends("retrieve", world, signal.SIGTERM, 240) == 0
    lists = pd.read_parquet(tmp_path / "runs" / "tiny" / "top_n")
    called(world, "timed")
    began = time.perf_counter()
    assert ends("retrieve", world, signal.SIGTERM, 240) == 0
    whole, random, codes = time.perf_counter() - began, np.random.default_rng(4), []
    for moment in range(round(0.14 * MOMENTS)):
        called(world, f"again-{moment // 2}")
        codes.append(ends("retrieve", world, signal.SIGTERM, random.uniform(0, whole)))
    assert 143 in codes and ends("retrieve", world, signal.SIGTERM, 240) == 0
    again = pd.read_parquet(tmp_path / "runs" / f"again-{moment // 2}" / "top_n")
    pd.testing.assert_frame_equal(again, lists)


def answers(process: subprocess.Popen) -> bool:
    """Whether a process has a handler of SIGTERM, as the system sees it."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_verb_still_imports_ends_in_one_message(number: int, world: Path) -> None:
    random = np.random.default_rng(number)
    for moment in (0.0, random.uniform(0, 4)):
        command = [sys.executable, str(REPOSITORY / "pipelines" / "prepare.py"), "--config", str(world)]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )
        until = time.monotonic() + 60
        while not answers(process):
            assert process.poll() is None and time.monotonic() < until, "it does not answer signals"
            time.sleep(0.001)
        time.sleep(moment)
        process.send_signal(number)
        _, errors = process.communicate(timeout=240)
        assert (process.returncode, errors) == (128 + number, SAID[128 + number])
    assert not (world.parent / "runs").exists()


def test_next_to_nothing_is_imported_before_signals_are_answered() -> None:
    said = (
        "import re, sys, m3csr_tf.util.signals as signals\n"  # As the script of an installed package begins.
        "before = set(sys.modules)\nfrom m3csr_tf.main import main\n"
        "signals.answer = lambda: (print(*sorted(set(sys.modules) - before)), sys.exit())\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", said], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}
    )
    assert done.stdout.split() == ["m3csr_tf.main"], done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_the_process_was_started_to_ignore_stays_ignored(number: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-c", VERB.replace("BODY", f"os.kill(os.getpid(), {int(number)})\n    print('done')")],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        preexec_fn=lambda: signal.signal(number, signal.SIG_IGN),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


VERB = """
import os, signal, sys, types
import typer.main
from m3csr_tf import main
from m3csr_tf.util import signals

def verb(**_):
    signals.begin()
    BODY

command = types.SimpleNamespace(main=verb)
typer.main.get_group = lambda app: types.SimpleNamespace(commands={"verb": command})
main.main("verb")
"""
ANSWERS = {
    "a library makes another error of it": (
        "try: os.kill(os.getpid(), signal.SIGTERM)\n    except BaseException: raise ImportError('no such thing')",
        (143, SAID[143]),
    ),
    "a library passes over it": (
        "try: os.kill(os.getpid(), signal.SIGTERM)\n    except BaseException: pass",
        (143, SAID[143]),
    ),
    "it comes in a destructor, which can raise nothing": (
        "import time\n    class Last:\n        def __del__(self): os.kill(os.getpid(), signal.SIGTERM)\n"
        "    Last()\n    time.sleep(60)",
        (143, SAID[143]),
    ),
    "others come while the first is cleaned up after": (
        "try: os.kill(os.getpid(), signal.SIGTERM)\n"
        "    finally: [os.kill(os.getpid(), number) for number in (signal.SIGINT, signal.SIGTERM)]",
        (143, SAID[143]),
    ),
    "it comes when all is done": (
        "import atexit\n    atexit.register(os.kill, os.getpid(), signal.SIGTERM)\n    sys.exit(0)",
        (0, ""),
    ),
    "Ctrl-C while it works": ("os.kill(os.getpid(), signal.SIGINT)", (130, SAID[130])),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_signal_is_answered_whatever_becomes_of_its_exception(case: str) -> None:
    body, expected = ANSWERS[case]
    done = subprocess.run(
        [sys.executable, "-c", VERB.replace("BODY", body)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert (done.returncode, done.stderr) == expected
