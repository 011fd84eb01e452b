"""onnxruntime's telemetry is off before anything of ours imports it."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from server_process import picture, serving

ROOT = Path(__file__).resolve().parents[3]
VARIABLE = "ORT_DISABLE_TELEMETRY"
# They run alone, in environments without our packages; what starts them gives them its own variables.
ALONE = "benchmarks.serving.peers"


def packages_with_onnxruntime() -> set[str]:
    found = set()
    for folder in ("benchmarks", "components", "pipelines", "serving"):
        for path in (ROOT / folder).rglob("*.py"):
            nodes = ast.walk(ast.parse(path.read_text()))
            names = [
                alias.name if isinstance(node, ast.Import) else node.module
                for node in nodes
                if isinstance(node, ast.Import | ast.ImportFrom)
                for alias in node.names
            ]
            if any(name and name.split(".")[0] == "onnxruntime" for name in names):
                found.add(".".join(path.relative_to(ROOT).parent.parts))
    return found - {ALONE}


PACKAGES = packages_with_onnxruntime()


def test_such_packages_are_found() -> None:
    assert {"serving.runtime", "components.export_onnx", "benchmarks.serving"} <= PACKAGES


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_importing_a_package_sets_the_variable(package: str) -> None:
    code = f"import os, sys, {package}; print('onnxruntime' in sys.modules, os.environ['{VARIABLE}'])"
    kept = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=kept, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "1"], done.stderr


def test_every_image_sets_it() -> None:
    text = (ROOT / "docker" / "Dockerfile").read_text()
    (runtime,) = re.findall(r"^FROM \S+ AS runtime\n(.*?)^FROM", text, re.MULTILINE | re.DOTALL)
    assert f"ENV {VARIABLE}=1\n" in runtime


def test_a_server_leaves_the_home_folder_empty(model_file: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    variables = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    with serving(tmp_path, "--model", str(model_file), **variables) as server:
        assert server.request("POST", "/predict", picture())[0] == 200
    assert list(home.rglob("*")) == []
