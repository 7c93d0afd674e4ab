"""Disks that are full, places that may not be written, too little memory: one message, and the same command goes on."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from kills import running, signalled_after

from m3csr_tf.errors import ResourceError

WAIT = 240


def running_with_small_files(begin: Callable[[], None], size: int, *args: object) -> None:
    """A verb for which files of more than `size` bytes do not fit: Python and TensorFlow see an error of the disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    running(begin, *args)  # type: ignore[arg-type]


@pytest.mark.parametrize(("verb", "size", "place"), [("prepare", 2_000, "prepared"), ("train", 20_000, "checkpoints")])
def test_a_disk_that_is_full_ends_a_verb_in_one_message_and_with_room_the_command_goes_on(
    verb: str, size: int, place: str, world: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert signalled_after(WAIT, 0, running_with_small_files, size, verb, world, out) == 2
    message = out.read_text().strip().splitlines()[-1]
    assert message.startswith("error: ") and f"{tmp_path / 'runs' / 'tiny' / place}" in message, out.read_text()
    assert "full" in message and "make room; the same command then goes on where it stopped" in message
    assert "Traceback" not in out.read_text() and "delete" not in message
    if verb == "prepare":
        assert not (tmp_path / "runs").exists()
    assert signalled_after(WAIT, 0, running, verb, world, out) == 0, out.read_text()


GRAPH = "{{function_node __wrapped__SaveV2_dtypes_31_device_/job:localhost/replica:0/task:0/device:CPU:0}} "
FULL = r"the disk is full \(No space left on device\): make room; the same command then goes on"
RIGHTS = r"it may not be read or written \({}\): check the rights; the same command then goes on"


def of_tensorflow(name: str, message: str) -> Exception:
    import tensorflow as tf

    return getattr(tf.errors, name)(None, None, message)


REFUSALS: dict[str, tuple[Callable[[], Exception], str]] = {
    "a full disk": (lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/a/b"), f"^/a/b: {FULL}"),
    "a full disk, of no file": (lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), f"^{FULL}"),
    "a quota": (lambda: OSError(errno.EDQUOT, "Disk quota exceeded", "/a"), "^/a: the disk is full for this user"),
    "rights": (lambda: PermissionError(errno.EACCES, "Permission denied", "/a"), RIGHTS.format("Permission denied")),
    "a disk that is read-only": (
        lambda: OSError(errno.EROFS, "Read-only file system", b"/a\x1b[31m"),
        r"^/a\\x1b\[31m: " + RIGHTS.format("Read-only file system"),
    ),
    "a broken disk": (
        lambda: OSError(errno.EIO, "Input/output error", "/a"),
        "^/a: Input/output error; check the disk",
    ),
    "TensorFlow's full disk": (
        lambda: of_tensorflow("ResourceExhaustedError", f"{GRAPH}/a/weights; No space left on device [Op:SaveV2]"),
        f"^/a/weights: {FULL}",
    ),
    "TensorFlow's full disk of another kind": (
        lambda: of_tensorflow("UnknownError", "/a/weights; Disk quota exceeded"),
        "^/a/weights: the disk is full for this user",
    ),
    "TensorFlow's rights": (
        lambda: of_tensorflow("PermissionDeniedError", f"{GRAPH}/a/weights; Permission denied [Op:SaveV2]"),
        "^/a/weights: " + RIGHTS.format("Permission denied"),
    ),
    "TensorFlow's disk that is read-only": (
        lambda: of_tensorflow("FailedPreconditionError", "/a/weights; Read-only file system"),
        "^/a/weights: " + RIGHTS.format("Read-only file system"),
    ),
    "TensorFlow's memory": (
        lambda: of_tensorflow("ResourceExhaustedError", f"{GRAPH}OOM when allocating tensor with shape[9,9]\nHint"),
        r"not enough memory \(OOM when allocating tensor with shape\[9,9\]\): give the process more",
    ),
    "memory": (lambda: MemoryError("Unable to allocate 1 TiB"), r"not enough memory \(Unable to allocate 1 TiB\)"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_the_system_refuses_is_one_message_that_says_what_to_do(case: str) -> None:
    from m3csr_tf.verbs.system_errors import system_errors

    error, message = REFUSALS[case]
    with pytest.raises(ResourceError, match=message) as caught, system_errors():
        raise error()
    assert "\n" not in str(caught.value) and "function_node" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        lambda: BrokenPipeError(errno.EPIPE, "Broken pipe"),
        lambda: OSError("no error of the system"),
        lambda: of_tensorflow("InvalidArgumentError", "shapes do not match"),
        lambda: ValueError("a mistake"),
    ],
)
def test_other_errors_stay_what_they_are(error: Callable[[], Exception]) -> None:
    from m3csr_tf.verbs.system_errors import system_errors

    raised = error()
    with pytest.raises(type(raised)) as caught, system_errors():
        raise raised
    assert caught.value is raised
