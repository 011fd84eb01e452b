"""Runs on this machine: their state and size, what may be removed, and one copy of equal files."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from loopback_server import running

from pipelines.environment.errors import ServerError
from pipelines.environment.settings import Settings
from pipelines.local.cache import cache_folder, prune_cache
from pipelines.local.one_copy import disk_bytes, link_equal
from pipelines.local.prune import chosen, local_runs, prune
from pipelines.local.run_folder import CONFIG, LOG, OUTPUTS, end, in_use, run_address
from serving.runtime.errors import InputError
from serving.runtime.storage import Location, make_bucket, upload


def make_run(settings: Settings, name: str, *, days: float = 0, outcome: bool | None = True, version: str = "") -> Path:
    """A run folder as a run leaves it, that many days ago."""
    folder = settings.runs / name
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "best.pt").write_bytes(os.urandom(100_000))
    (folder / CONFIG).write_text(yaml.safe_dump({"pipeline": "classification", "model_name": "faces"}))
    (folder / LOG).write_text("a step\n")
    if outcome is not None:
        end(folder, succeeded=outcome)
    if version:
        (folder / "register").mkdir()
        (folder / "register" / OUTPUTS).write_text(json.dumps({"parameterValues": {"version": version}}))
    when = time.time() - days * 86_400
    for file in (folder / CONFIG, folder / LOG):
        os.utime(file, (when, when))
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"FACET_HOME": str(tmp_path / "home")})


@pytest.fixture
def registry(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[str]]]:
    """The aliases of versions of `faces` in an MLflow that answers; 404 for others, 500 for the version "broken"."""
    aliases: dict[str, list[str]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            version = self.path.rpartition("version=")[2]
            self.send_response(200 if version in aliases else 500 if version == "broken" else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"model_version": {"aliases": aliases.get(version, [])}}).encode())

        def log_message(self, *_: object) -> None: ...

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{address}")
        make_bucket("pipelines")
        yield aliases


def test_states_and_sizes(settings: Settings) -> None:
    make_run(settings, "old", days=40, outcome=False)
    make_run(settings, "done", days=2)
    make_run(settings, "killed", days=1, outcome=None)
    make_run(settings, "earlier", days=3, outcome=None, version="1")
    (settings.runs / "not-a-run").mkdir()
    with in_use(make_run(settings, "now", outcome=None)):
        runs = local_runs(settings)
    assert [(run.folder.name, run.state) for run in runs] == [
        ("now", "running"),
        ("killed", "stopped"),
        ("done", "succeeded"),
        ("earlier", "succeeded"),
        ("old", "failed"),
    ]
    assert all(100_000 < run.bytes < 102_000 for run in runs)
    assert local_runs(settings)[0].state == "stopped", "the mark ends with its process"


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"older_than": "30d"}, ["c"]),
        ({"older_than": "12h"}, ["b", "c"]),
        ({"keep_last": 1}, ["a", "b", "c"]),
        ({"keep_last": 3}, ["c"]),
        ({"states": ["failed"]}, ["b"]),
        ({"states": ["failed", "succeeded"], "older_than": "2w"}, ["c"]),
        ({"keep_last": 9}, []),
    ],
)
def test_conditions(settings: Settings, conditions: dict[str, object], expected: list[str]) -> None:
    make_run(settings, "c", days=31)
    make_run(settings, "b", days=1, outcome=False)
    make_run(settings, "a", days=0.1)
    with in_use(make_run(settings, "now")):
        found = chosen(local_runs(settings), **conditions)  # type: ignore[arg-type]
    assert [run.folder.name for run in found] == expected


@pytest.mark.parametrize("conditions", [{}, {"older_than": "30"}, {"older_than": "x"}, {"states": ["running"]}])
def test_conditions_are_checked(settings: Settings, conditions: dict[str, object]) -> None:
    with pytest.raises(InputError):
        chosen(local_runs(settings), **conditions)  # type: ignore[arg-type]


def test_only_what_nobody_needs_is_removed_and_only_with_yes(
    settings: Settings, registry: dict[str, list[str]]
) -> None:
    registry |= {"1": ["champion"], "2": [], "3": ["candidate", "mine"]}
    folders = {name: make_run(settings, name, version=name) for name in ("1", "2", "3", "gone")}
    folders["plain"], folders["served"] = make_run(settings, "plain"), make_run(settings, "served")
    for name, folder in folders.items():
        upload(folder / "train", run_address(name))
    runs = chosen(local_runs(settings), keep_last=0)
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)", "--model", str(folders["served"] / "train")]
    ) as server:
        lines: list[str] = []
        assert prune(runs, settings, yes=False, echo=lines.append) == 3
        assert all(folder.is_dir() for folder in folders.values())
        assert prune(runs, settings, yes=True, echo=lines.append) == 3
        server.kill()
    left = {name for name, folder in folders.items() if folder.is_dir()}
    assert left == {"1", "3", "served"}
    assert {name for name in folders if Location(run_address(name)).exists()} == left
    said = "\n".join(lines)
    assert "3: its model is faces@candidate, @mine" in said
    assert "served: its model is served" in said


def test_a_run_whose_composite_has_an_alias_stays(settings: Settings, registry: dict[str, list[str]]) -> None:
    registry |= {"4": [], "5": ["champion"]}
    folder = make_run(settings, "faces", version="4")
    config = {"pipeline": "classification_faces", "model_name": "faces", "composite": "crowd"}
    (folder / CONFIG).write_text(yaml.safe_dump(config))
    lines: list[str] = []
    assert prune(local_runs(settings), settings, yes=False, echo=lines.append) == 1
    versions = {"version": "4", "composite_version": "5"}
    (folder / "register" / OUTPUTS).write_text(json.dumps({"parameterValues": versions}))
    assert prune(local_runs(settings), settings, yes=False, echo=lines.append) == 0
    assert lines[-1].endswith("faces: its model is crowd@champion")


def test_results_that_no_run_has_used_for_long_leave_the_cache(tmp_path: Path) -> None:
    """The cache says by the time of an entry when it was last used."""
    folder = cache_folder(tmp_path)
    for name, days in (("detect_faces/new", 1), ("detect_faces/old", 31), ("other/old", 100)):
        (folder / name / "files").mkdir(parents=True)
        (folder / name / "files" / "a").write_bytes(b"1" * 2**20)
        os.utime(folder / name, (time.time() - days * 86_400,) * 2)
    lines: list[str] = []
    assert prune_cache(tmp_path, yes=False, echo=lines.append) == 2
    assert lines == [f"would remove  2 results in {folder}, 2.0 MB, not used for 30 days"]
    assert prune_cache(tmp_path, yes=True, echo=lines.append) == 2
    assert [path.name for path in folder.glob("*/*")] == ["new"]
    assert prune_cache(tmp_path, yes=True, echo=lines.append) == 0 and len(lines) == 2


def test_nothing_is_removed_when_the_registry_does_not_answer(
    settings: Settings, registry: dict[str, list[str]]
) -> None:
    folder = make_run(settings, "a", version="broken")
    with pytest.raises(ServerError, match="does not say whether version broken"):
        prune(local_runs(settings), settings, yes=True, echo=lambda _: None)
    assert folder.is_dir()


def test_equal_files_become_one(tmp_path: Path) -> None:
    content, other = os.urandom(200_000), os.urandom(200_000)
    files = {"run/best.pt": content, "s3/best.pt": content, "s3/f1.pt": content, "s3/last.pt": other, "s3/note": b"x"}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "run" / "note").write_bytes(b"x")
    folders = [tmp_path / "run", tmp_path / "s3"]
    assert disk_bytes(folders) == 800_002
    assert link_equal(folders, since=time.time() + 60) == 0
    assert link_equal(folders) == 400_000
    assert link_equal(folders) == 0
    assert disk_bytes(folders) == 400_002
    assert {name: (tmp_path / name).read_bytes() for name in files} == files


def test_a_linked_object_that_is_uploaded_anew_leaves_the_run_alone(s3: Any, tmp_path: Path) -> None:
    make_bucket("linked")
    (tmp_path / "best.pt").write_bytes(b"a" * 100_000)
    upload(tmp_path / "best.pt", "s3://linked/best.pt")
    assert link_equal([tmp_path, s3.folder / "linked"]) == 100_000
    (tmp_path / "other").write_bytes(b"b" * 100_000)
    upload(tmp_path / "other", "s3://linked/best.pt")
    assert (tmp_path / "best.pt").read_bytes() == b"a" * 100_000
    assert Location("s3://linked/best.pt").read() == b"b" * 100_000
