"""Run folders are numbered, never overwritten, with the layout of a cluster's launcher."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.local.run_folder import artifacts, flatten, make_run_folder, outputs
from serving.runtime.errors import InputError


def test_numbered_and_never_overwriting(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    assert [make_run_folder(root, "v1.2").name for _ in range(3)] == ["v1.2", "v1.21", "v1.22"]
    (root / "v1.21").rmdir()
    assert make_run_folder(root, "v1.2").name == "v1.21"
    assert make_run_folder(root, "v1").name == "v1"
    (root / "file").touch()
    assert make_run_folder(root, "file").name == "file1"


def test_names_in_use_elsewhere_are_skipped(tmp_path: Path) -> None:
    assert make_run_folder(tmp_path, "a", {"a", "a1"}.__contains__).name == "a2"


def test_many_at_once_never_share_a_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(lambda _: make_run_folder(tmp_path, "a"), range(64)))
    assert len(set(folders)) == 64


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "-a", "a\n"])
def test_invalid_folder_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="use letters"):
        make_run_folder(tmp_path, name)


def test_tasks_move_up_and_their_outputs_follow(tmp_path: Path) -> None:
    run = tmp_path / "run.1"
    task = run / "classification-2026-11-21-01-57-03-953807" / "export"
    (task / "model").mkdir(parents=True)
    (task / "model" / "model.onnx").write_bytes(b"onnx")
    content = {
        "parameterValues": {"version": "3"},
        "artifacts": {"model": {"artifacts": [{"uri": str(task / "model"), "metadata": {"sha256": "abc"}}]}},
    }
    (task / "executor_output.json").write_text(json.dumps(content))
    (run / "log.txt").touch()
    flatten(run)
    assert {path.name for path in run.iterdir()} == {"export", "log.txt"}
    moved = json.loads((run / "export" / "executor_output.json").read_text())
    assert moved["artifacts"]["model"]["artifacts"][0]["uri"] == str(run / "export" / "model")
    assert list(artifacts(run)) == [run / "export" / "model"]
    assert outputs(run, "export") == {"version": "3"}
    assert outputs(run, "train") == {}
