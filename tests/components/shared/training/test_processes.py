"""Inputs in S3, downloaded once for all processes of a node."""

from pathlib import Path
from typing import Any

import pytest
from kubernetes_stand_in import artifact_folder

from components.shared.training.processes import local_copy, node_folder
from serving.runtime.storage import upload


def test_a_node_downloads_its_data_once(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, address = artifact_folder(tmp_path, monkeypatch)
    (folder / "images").mkdir()
    (folder / "images" / "images-00000.zip").write_bytes(b"zip")
    (folder / "faces.json").write_bytes(b"faces")
    upload(folder, address)
    with node_folder() as node:
        copy = local_copy(f"{address}/faces.json", node)
        assert copy.read_bytes() == b"faces"
        stamp = copy.stat().st_mtime_ns
        assert local_copy(f"{address}/faces.json", node).stat().st_mtime_ns == stamp
        images = local_copy(f"{address}/images", node)
        assert [path.name for path in images.iterdir()] == ["images-00000.zip"]
        assert local_copy(str(tmp_path), node) == tmp_path
    assert not node.exists()
