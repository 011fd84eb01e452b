"""The overlays, built by kustomize."""

import shutil
import subprocess

import pytest
import yaml
from docker_files import KUBERNETES, OVERLAYS, Overlay


@pytest.fixture(scope="session")
def overlays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Overlay]:
    """Every overlay as kubectl builds it, with the example file instead of real secrets."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed, so no overlay can be built")
    copy = tmp_path_factory.mktemp("kustomize") / "kubernetes"
    shutil.copytree(KUBERNETES, copy, ignore=shutil.ignore_patterns(".env"))
    storage = copy / "base" / "storage"
    shutil.copyfile(storage / ".env.example", storage / ".env")
    built = {}
    for name in OVERLAYS:
        result = subprocess.run([kubectl, "kustomize", copy / "overlays" / name], capture_output=True, text=True)
        assert result.returncode == 0, f"{name}: {result.stderr}"
        assert not result.stderr, f"{name} is built with a warning: {result.stderr}"
        built[name] = Overlay(yaml.safe_load_all(result.stdout))
    return built


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest, overlays: dict[str, Overlay]) -> Overlay:
    return overlays[request.param]
