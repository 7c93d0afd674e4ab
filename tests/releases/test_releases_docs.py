"""docs/releases.md: its server opens one version after the other, and does not grow."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m3csr_tf.releases import manifest as manifests

PAGE = (Path(__file__).parents[2] / "docs" / "releases.md").read_text(encoding="utf-8")
VERSIONS = 20
DRIVER = '''
import json, os
from pathlib import Path
from server import FOLDER, Latest


def resident(process):
    """MiB of a process and of all that it started."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20 + sum(
        resident(child) for task in tasks for child in task.read_text().split()
    )


if __name__ == "__main__":
    latest = Latest()
    for version in range(1, VERSIONS + 1):
        os.replace(FOLDER / f"manifest-{version}.json", FOLDER / "manifest.json")
        items, scores = latest.search(["a stranger"], [HISTORY], 3)
        alone = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
        said = {"version": latest.version, "items": items[0], "asked": alone, "all": resident(os.getpid())}
        print(json.dumps(said), flush=True)
    latest.worker.shutdown()
'''


@pytest.fixture
def many_versions(make_run: Callable[..., Any], tmp_path: Path) -> Any:
    """A release of 20 versions of a tiny untrained run, whose files are shared; manifest-V.json makes V current."""
    from m3csr_tf.releases.publish import publish

    world = {"users": 40, "items": 30, "clicks": 250, "modalities": {"visual": 4}}
    release = publish(make_run(tmp_path, data={"world": world}, clusters={"count": 3}))
    for version in range(1, VERSIONS + 1):
        said = json.dumps(manifests.with_fingerprint({**release.manifest, "version": version}))
        (release.folder / f"manifest-{version}.json").write_text(said)
        if version == 1:
            continue
        shutil.copytree(release.folder / "journal" / "1", release.folder / "journal" / str(version))
        for part in manifests.PARTS:
            folder = release.folder / part / str(version)
            shutil.copytree(release.folder / part / "1", folder, copy_function=os.link)
            copy = manifests.copy_path(folder, part)
            copy.unlink()
            copy.write_text(said)
    return release


def test_the_server_of_the_page_opens_20_versions_without_growing(many_versions: Any, tmp_path: Path) -> None:
    [code] = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "# server.py" in block]
    (tmp_path / "server.py").write_text(code.replace('"saved_models/shorts"', repr(str(many_versions.folder))))
    history = many_versions.index.ids[:2].tolist()
    driver = DRIVER.replace("HISTORY", repr(history)).replace("VERSIONS", str(VERSIONS))
    (tmp_path / "driver.py").write_text(driver)
    done = subprocess.run(
        [sys.executable, "driver.py"], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [one["version"] for one in said] == list(range(1, VERSIONS + 1))
    assert len({tuple(one["items"]) for one in said}) == 1 and len(said[0]["items"]) == 3
    for what in ("asked", "all"):
        assert said[-1][what] < 1.1 * said[2][what], (what, [round(one[what]) for one in said])
    assert said[-1]["asked"] < 100  # MiB: no TensorFlow there.
