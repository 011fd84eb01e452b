"""What is in the images, and what a container of theirs may do."""

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import docker
from components import container_images

pytestmark = pytest.mark.containers
TARGETS = ("data", "train", "serve", "yolo")
LIMITS = {"data": 1.1e9, "serve": 450e6}
OWN_LAYERS_OF_YOLO = 400e6
LICENSES = {"yolo": "Apache-2.0 AND AGPL-3.0-only"}
COMPILERS = ("gcc", "cc", "g++", "c++", "clang", "ld", "make", "git")
LISTING = "import importlib.metadata as m, json; print(json.dumps([[d.name, d.version] for d in m.distributions()]))"


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def image(engine: Any, target: str) -> Any:
    return engine.images.get(getattr(container_images, target.upper()))


def packages(ask: Any, target: str) -> dict[str, str]:
    listed = json.loads(ask(target, "python", "-c", LISTING))
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in listed}


def test_size(image: Any, target: str, record_property: Any) -> None:
    size = image.attrs["Size"]
    print(f"{target}: {size / 1e6:.0f} MB")
    assert size < LIMITS.get(target, 8e9)


def test_labels_say_what_it_was_built_from(image: Any) -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert image.labels["org.opencontainers.image.version"] == project["version"]
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", image.labels["org.opencontainers.image.revision"])


def test_labels_say_its_licenses(image: Any, target: str) -> None:
    assert image.labels["org.opencontainers.image.licenses"] == LICENSES.get(target, "Apache-2.0")


def test_a_container_is_not_root_and_cannot_change_its_image(ask: Any, target: str) -> None:
    assert ask(target, "id", "-u") == "1000"
    assert ask(target, "sh", "-c", "touch /app/x || touch /opt/facet/x || echo refused").endswith("refused")
    assert ask(target, "sh", "-c", "touch /tmp/x && echo written") == "written"
    assert ask(target, "sh", "-c", "grep CapEff /proc/self/status").split()[1] == "0000000000000000"


def test_its_root_is_writable_for_root_alone(ask: Any, target: str) -> None:
    found = ask(target, "sh", "-c", "find /app /opt/facet -writable ! -type l | head", read_only=False)
    assert found == ""


def test_no_compiler(ask: Any, target: str) -> None:
    assert ask(target, "sh", "-c", f"for name in {' '.join(COMPILERS)}; do command -v $name; done; true") == ""


def test_packages_are_those_of_the_lock_and_fit_together(ask: Any, target: str) -> None:
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", Path("requirements.lock").read_text(), re.MULTILINE))
    assert packages(ask, target).items() <= locked.items()
    uv = docker.types.Mount("/uv", str(Path(sys.executable).with_name("uv").resolve()), type="bind", read_only=True)
    said = ask(
        target, "/uv", "pip", "check", "--no-cache", "--python", "/opt/facet/bin/python", stderr=True, mounts=[uv]
    )
    assert "All installed packages are compatible" in said


def test_each_image_has_only_what_it_needs(ask: Any) -> None:
    inside = {target: packages(ask, target).keys() for target in TARGETS}
    foreign = {"mlflow", "flask", "av"}
    assert {"torch", *foreign}.isdisjoint(inside["data"])
    assert all(foreign.isdisjoint(inside[target]) for target in ("train", "yolo"))
    assert {"torch", "kfp", "mlflow-skinny", "scikit-learn", "onnx", "pandas", "av"}.isdisjoint(inside["serve"])
    assert ask("serve", "ls", "/app") == "serving"
    assert inside["yolo"] > inside["train"]
    for target in ("data", "train", "serve"):
        assert not [name for name in inside[target] if name.startswith(("ultralytics", "polars", "matplotlib"))]
        assert "nvidia-ml-py" not in inside[target]


def test_the_image_of_ultralytics_is_a_layer_on_that_of_torch(engine: Any) -> None:
    """Both have the code as their last layer."""
    train, yolo = (engine.images.get(image) for image in (container_images.TRAIN, container_images.YOLO))
    layers = {image: image.attrs["RootFS"]["Layers"] for image in (train, yolo)}
    assert layers[yolo][: len(layers[train]) - 1] == layers[train][:-1]
    assert len(layers[yolo]) == len(layers[train]) + 1
    assert yolo.attrs["Size"] - train.attrs["Size"] < OWN_LAYERS_OF_YOLO


def test_nothing_of_the_build_is_left(image: Any, ask: Any, target: str) -> None:
    """Index settings and certificates came as secrets: no layer, label, variable or line of the history has them."""
    told = json.dumps([image.attrs["Config"], image.history()])
    assert not re.search(r"(PIP|UV)_(?!VERSION)|index-url|https?_proxy|BEGIN CERTIFICATE", told, re.IGNORECASE)
    assert ask(target, "sh", "-c", "ls /run/secrets /src /tmp/packages.txt 2>/dev/null; true") == ""


def test_any_user_will_do(ask: Any, target: str) -> None:
    """Clusters give containers a user that no file knows."""
    probe = "import getpass, os, tempfile; tempfile.mkdtemp(); print(getpass.getuser(), os.getuid())"
    assert ask(target, "python", "-c", probe, user="54321:0").split() == ["facet", "54321"]
