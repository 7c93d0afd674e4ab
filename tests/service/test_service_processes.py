"""The service in processes of its own: it follows refreshes and versions without a failed request, and ends cleanly."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from processes import Asking, RunningService, until
from typer.testing import CliRunner

from m3csr_tf import columns
from m3csr_tf.cli import app
from m3csr_tf.config import ColdConfig, IndexConfig
from m3csr_tf.releases.compaction import compact
from m3csr_tf.releases.refresh import refresh
from m3csr_tf.releases.release import Release, open_release
from m3csr_tf.releases.versions import rollback

SETTINGS = ("service.poll_s=0.05", "service.timeout_s=100", "service.drain_s=100", "cold.max_views=3")


@pytest.fixture(scope="module")
def folder(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(release.folder, tmp_path_factory.mktemp("served") / "small"))


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[RunningService]:
    """One service for all tests of the module, which go on where the one before has stopped."""
    with RunningService(folder, *SETTINGS) as running:
        yield running


def test_it_answers_from_the_current_version_and_takes_in_what_is_refreshed(
    service: RunningService, folder: Path
) -> None:
    live = open_release(folder)
    rng = np.random.default_rng(0)
    content = {name: rng.normal(size=(1, width)).astype(np.float32) for name, width in live.modalities.items()}
    with Asking(service.url) as asking:
        assert httpx.get(f"{service.url}/readyz").json() == {"version": 1, "position": 0, "items": 120}
        refresh(live, pd.DataFrame({columns.ITEM_ID: ["fresh"]}), content)
        until(lambda: httpx.get(f"{service.url}/readyz").json()["position"] == 1, service)
        listed = {"users": [{"user_id": "u"}], "n": 121}
        [user] = httpx.post(f"{service.url}/v1/recommend", json=listed).json()["users"]
        assert "fresh" in {item["item_id"] for item in user["items"]}
        [user] = httpx.post(f"{service.url}/v1/recommend", json={**listed, "only": "cold"}).json()["users"]
        cold = live.items.is_cold(live.items.ids, ColdConfig(max_views=3))
        assert {item["item_id"] for item in user["items"]} == set(live.items.ids[cold])
        assert set(live.items.ids[cold]) != set(live.items.ids[live.items.is_cold(live.items.ids)])
    assert asking.versions and not asking.failures


def test_versions_are_exchanged_without_a_failed_request_and_old_processes_end(
    service: RunningService, folder: Path
) -> None:
    [first] = service.workers()
    with Asking(service.url) as asking:
        compact(folder, IndexConfig())
        until(lambda: asking.versions[-1:] == [2], service)
        rollback(folder, 1)
        until(lambda: asking.versions[-1:] == [1], service)
        until(lambda: len(service.workers()) == 1, service)
    assert not asking.failures
    assert asking.versions[0] == 1 and 2 in asking.versions and asking.versions[-1] == 1
    assert service.workers() != [first]


def test_a_version_that_cannot_be_opened_changes_nothing(service: RunningService, folder: Path) -> None:
    broken = folder / "item_tower" / "2" / "saved_model.pb"
    broken.unlink()  # Versions may share the file, by a hard link.
    broken.write_bytes(b"broken")
    with Asking(service.url) as asking:
        shutil.copy(folder / "index" / "2" / "release.json", folder / "next.json")
        (folder / "next.json").replace(folder / columns.MANIFEST)
        line = service.said("version 2 could not be opened")
        assert "saved_model.pb" in line and line.endswith("the one before goes on")
        until(lambda: len(asking.versions) > 5, service)
    assert set(asking.versions) == {1} and not asking.failures
    shutil.copy(folder / "index" / "1" / "release.json", folder / "next.json")
    (folder / "next.json").replace(folder / columns.MANIFEST)


def test_a_worker_that_dies_is_replaced(service: RunningService) -> None:
    until(lambda: len(service.workers()) == 1, service)
    [before] = service.workers()
    os.kill(before, signal.SIGKILL)
    line = service.said("another one is started")
    assert "by signal SIGKILL" in line
    until(lambda: service.workers() not in ([], [before]), service)
    # Connections wait in the socket, which is the supervisor's, until somebody accepts them.
    until(lambda: httpx.get(f"{service.url}/readyz", timeout=240).status_code == 200, service)


def test_a_signal_ends_it_with_its_exit_code_and_no_process_stays(service: RunningService) -> None:
    workers = service.workers()
    assert service.end() == 143
    assert not [one for one in workers if Path(f"/proc/{one}").exists()]
    assert "terminated" in service.lines[-1]


def test_what_it_cannot_start_with_is_one_error(folder: Path, tmp_path: Path) -> None:
    release = [f"run.name={folder.name}", f"run.release_folder={folder.parent}"]
    (tmp_path / "empty").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        misuse: dict[str, tuple[list[str], str]] = {
            "no release": (["run.release_folder=nowhere"], "there is no release here; run pipelines/release.py"),
            "a port that is taken": ([f"service.port={port}"], "cannot be listened on (Address already in use)"),
            "an unknown host": (["service.host=no.such.host.invalid"], "no such address"),
            "no port": (["service.port=70000"], "service.port"),
            "a token file that is empty": ([f"service.token_file={tmp_path / 'empty'}"], "holds 0 characters"),
            "no token file": (["service.token_file=nowhere"], "nowhere: cannot be read (No such file or directory)"),
            "a certificate alone": (["service.tls_certificate=a.pem"], "service.tls_key is not; HTTPS needs both"),
            "no certificate": (["service.tls_certificate=a.pem", "service.tls_key=b.pem"], "cannot be read"),
            "no PEM": (
                [f"service.tls_certificate={tmp_path / 'empty'}", f"service.tls_key={tmp_path / 'empty'}"],
                "cannot be used",
            ),
            "towers without a port": (["service.towers=localhost"], "service.towers must be HOST:PORT"),
            "an unknown setting": (["service.ports=1"], "service.ports"),
        }
        for what, (settings, message) in misuse.items():
            done = CliRunner().invoke(app, ["serve", *release, *settings])
            assert done.exit_code == 2, (what, done.output)
            assert done.output.count("error:") == 1 and message in done.output, (what, done.output)


def test_a_filter_that_cannot_be_read_ends_it_before_it_answers(folder: Path) -> None:
    with RunningService(folder, "retrieve.block=nowhere.txt") as running:
        running.said("error: nowhere.txt")
        assert running.process.wait(240) == 2


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of this machine and its key, as `openssl` makes them."""
    import subprocess

    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    key, pem = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", pem]
    subprocess.run([*new, *subject], check=True, capture_output=True, timeout=120)
    return pem, key


def test_with_a_certificate_and_a_token_it_speaks_tls_to_those_who_have_it(
    folder: Path, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    import ssl

    pem, key = certificate
    token = "a token that is long enough".replace(" ", "-")
    (tmp_path / "token").write_text(token)
    settings = [f"service.tls_certificate={pem}", f"service.tls_key={key}", f"service.token_file={tmp_path / 'token'}"]
    trusted = ssl.create_default_context(cafile=str(pem))
    with RunningService(folder, *settings, "service.timeout_s=100") as running:
        assert running.url.startswith("https://127.0.0.1:")
        with httpx.Client(base_url=running.url, verify=trusted, timeout=120) as client:
            asked: Any = {"users": [{"user_id": "u"}]}
            assert client.post("/v1/recommend", json=asked).status_code == 401
            headers = {"Authorization": f"Bearer {token}"}
            assert client.post("/v1/recommend", json=asked, headers=headers).status_code == 200
        # The token is in no command line.
        for process in [running.process.pid, *running.workers()]:
            assert token not in Path(f"/proc/{process}/cmdline").read_text()
