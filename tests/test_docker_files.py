"""The Dockerfile and its scripts, as far as they can be checked without an engine."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SCRIPTS = [
    path
    for path in sorted((ROOT / "docker").iterdir())
    if path.is_file() and path.read_text().startswith("#!/usr/bin/env bash")
]


def script(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "DOCKER"))}
    return subprocess.run(command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=False)


def test_the_dockerfile_has_no_lint() -> None:
    done = script(str(Path(sys.executable).with_name("hadolint")), "docker/Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_one_version_of_uv() -> None:
    pattern = r"UV_VERSION(?: := |=)([\d.]+)"
    (made,), (built,) = (re.findall(pattern, (ROOT / name).read_text()) for name in ("Makefile", "docker/Dockerfile"))
    assert made == built


OF_ULTRALYTICS = {
    "ultralytics-opencv-headless", "ultralytics-platform", "ultralytics-thop",
    "matplotlib", "nvidia-ml-py", "polars", "polars-runtime-32", "psutil",
}  # fmt: skip


@pytest.fixture(scope="module")
def stages() -> dict[str, tuple[set[str], str]]:
    """The stages of the Dockerfile by name: the stages that each is built from, itself among them, and its text."""
    found: dict[str, tuple[set[str], str]] = {}
    for block in re.split(r"^(?=FROM )", (ROOT / "docker/Dockerfile").read_text(), flags=re.MULTILINE)[1:]:
        text = "".join(line for line in block.splitlines(keepends=True) if not line.startswith("#"))
        base, name = re.match(r"FROM (\S+) AS (\S+)\n", text).groups()  # type: ignore[union-attr]
        others = {base, *re.findall(r"\b(?:--from=|from=)([\w-]+)", text)} & found.keys()
        found[name] = {name}.union(*(found[other][0] for other in others)), text
    return found


def packages(*extras: str) -> set[str]:
    """Names of the packages that extras of the project need on this machine, as those that are installed say."""
    seen: set[tuple[str, str]] = set()
    left = [("facet", extra) for extra in ("", *extras)]
    while left:
        name, extra = one = left.pop()
        if one in seen:
            continue
        seen.add(one)
        for requirement in map(Requirement, importlib.metadata.requires(name) or []):
            if not requirement.marker or requirement.marker.evaluate({"extra": extra}):
                left += [(canonicalize_name(requirement.name), other) for other in ("", *requirement.extras)]
    return {name for name, _ in seen} - {"facet"}


@pytest.mark.parametrize(
    ("package", "extra"), [("av", "video"), ("ultralytics-opencv-headless", "yolo")], ids=["video", "yolo"]
)
def test_what_is_under_another_license_is_in_an_extra_and_an_image_of_its_own(
    stages: dict[str, tuple[set[str], str]], package: str, extra: str
) -> None:
    """PyAV's wheel holds libraries under the GPL, ultralytics is under the AGPL."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"] | {"": project["dependencies"]}
    assert [name for name, needed in extras.items() if package in {Requirement(one).name for one in needed}] == [extra]
    assert [name for name, needed in extras.items() if any(extra in one for one in needed)] == ["dev"]
    installing = {name for name, (_, text) in stages.items() if re.search(rf"install-extra .*\b{extra}\b", text)}
    assert len(installing) == 1
    assert {name for name, (parts, _) in stages.items() if parts & installing} == installing | {extra}
    scripts = [(ROOT / "docker" / name).read_text() for name in ("build", "push")]
    assert all("${TARGETS:-data train serve}" in script for script in scripts)


def test_the_other_images_have_no_package_of_ultralytics(stages: dict[str, tuple[set[str], str]]) -> None:
    installed = {
        name: packages(*found[1].split())
        for name, (_, text) in stages.items()
        if (found := re.search(r"(?<!/)install-extra ([\w ]*\w)", text))
    }
    assert installed.keys() == {f"{name}-packages" for name in ("data", "train", "serve", "video", "yolo")}
    assert installed.pop("yolo-packages") >= OF_ULTRALYTICS
    assert {name: found & OF_ULTRALYTICS for name, found in installed.items()} == {name: set() for name in installed}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_stop_at_the_first_error(path: Path) -> None:
    assert os.access(path, os.X_OK)
    assert "\nset -euo pipefail\n" in path.read_text()
    assert script("bash", "-n", str(path)).stderr == ""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A folder for the secrets; pip is configured with two indexes, one of them a folder."""
    (tmp_path / "pip.conf").write_text(
        "[global]\nextra-index-url = file:///wheels https://more.example/simple\ntrusted-host = more.example\n"
    )
    (tmp_path / "ca.pem").write_text("bundle")
    (tmp_path / "secrets").mkdir()
    return tmp_path


def test_settings_of_the_environment_and_pip_reach_the_build(settings: Path) -> None:
    done = script(
        "docker/settings", str(settings / "secrets"),
        PYTHON=sys.executable, PIP_CONFIG_FILE=str(settings / "pip.conf"), PIP_CERT=str(settings / "ca.pem"),
        PIP_INDEX_URL="https://me:pa'ss@index.example/simple", HTTPS_PROXY="http://proxy:3128",
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    said = script("sh", "-c", f". {settings}/secrets/index && env").stdout
    assert {
        "PIP_INDEX_URL=https://me:pa'ss@index.example/simple",
        "PIP_EXTRA_INDEX_URL=https://more.example/simple",
        "PIP_TRUSTED_HOST=more.example",
        "UV_DEFAULT_INDEX=https://me:pa'ss@index.example/simple",
        "UV_INDEX=https://more.example/simple",
        "HTTPS_PROXY=http://proxy:3128",
    } <= set(said.splitlines())
    assert (settings / "secrets/ca_bundle").read_text() == "bundle"


def test_nothing_is_passed_where_nothing_is_set(settings: Path) -> None:
    bare = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, "PIP_CONFIG_FILE": os.devnull, "HOME": str(settings)}
    command = ["docker/settings", str(settings / "secrets")]
    done = subprocess.run(command, cwd=ROOT, env=bare, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert list((settings / "secrets").iterdir()) == []


def test_images_without_an_engine_is_one_line() -> None:
    done = script("docker/build", DOCKER="false")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "no Docker engine answers" in done.stderr


def test_tests_in_containers_are_skipped_with_a_reason(tmp_path: Path) -> None:
    """Where no engine answers and we are not root."""
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    done = script(
        "docker/engine", "touch", str(tmp_path / "ran"), DOCKER="false", PATH=f"{tmp_path}:{os.environ['PATH']}"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("SKIPPED, no container engine: ")
    assert not (tmp_path / "ran").exists()


def test_an_engine_that_answers_is_used(tmp_path: Path) -> None:
    done = script("docker/engine", "echo", "with an engine", DOCKER="true")
    assert done.stdout == "with an engine\n"


def test_the_build_sees_only_what_it_needs() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    assert {line for line in lines if line.startswith("!")} == {
        "!requirements.lock", "!pyproject.toml", "!docker/install", "!serving", "!components",
    }  # fmt: skip
