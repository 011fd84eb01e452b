"""`make push` against a real registry on this machine: digests that a cluster can pull by."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components import container_images
from pipelines.local.supervisor import free_port

pytestmark = pytest.mark.containers
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    program = shutil.which("docker-registry")
    if not program:
        pytest.skip("no registry to push to: Debian's package docker-registry is not installed")
    address = f"127.0.0.1:{free_port(None)}"
    config = tmp_path / "registry.yml"
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "registry")}}
    config.write_text(json.dumps({"version": 0.1, "storage": storage, "http": {"addr": address}}))
    server = subprocess.Popen([program, "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://{address}/v2/", timeout=1).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
        yield address
    finally:
        server.terminate()
        server.wait()


def push(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker/push"],
        env=os.environ | {"FACET_HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_push_notes_the_digest_in_the_registry(engine: Any, registry: str, tmp_path: Path) -> None:
    (tmp_path / "images.json").write_text('{"FACET_IMAGE_DATA": "kept"}')
    done = push(tmp_path, REGISTRY=f"{registry}/team/", TARGETS="serve", TAG="v1")
    assert done.returncode == 0, done.stderr
    noted = json.loads((tmp_path / "images.json").read_text())
    assert noted.pop("FACET_IMAGE_DATA") == "kept"
    name, _, digest = noted.pop("FACET_IMAGE_SERVE").partition("@")
    assert (name, noted) == (f"{registry}/team/facet/serve", {})
    try:
        request = urllib.request.Request(
            f"http://{registry}/v2/team/facet/serve/manifests/v1", headers={"Accept": MANIFEST}
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.headers["Docker-Content-Digest"] == digest
            assert json.load(answer)["config"]["digest"] == engine.images.get(container_images.SERVE).id
        assert engine.images.pull(f"{name}@{digest}").id == engine.images.get(container_images.SERVE).id
    finally:
        engine.images.remove(f"{name}:v1")


def test_a_tag_names_one_image_alone(engine: Any, registry: str, tmp_path: Path) -> None:
    image = engine.images.get(container_images.SERVE)
    done = push(tmp_path, REGISTRY=registry, TARGETS="serve")
    assert done.returncode == 0, done.stderr
    tag = done.stdout.split()[1]
    try:
        assert tag.endswith(f"-{image.id.removeprefix('sha256:')[:12]}")
        assert engine.images.get(tag).id == image.id
    finally:
        engine.images.remove(tag)


def test_a_push_says_what_is_missing(engine: Any, tmp_path: Path) -> None:
    done = push(tmp_path, REGISTRY="")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "make push REGISTRY=" in done.stderr
    done = push(tmp_path, REGISTRY="127.0.0.1:1", FACET_IMAGE_SERVE="facet/nothing:1", TARGETS="serve")
    assert done.returncode == 1
    assert "make images" in done.stderr
    assert not (tmp_path / "images.json").exists()
