"""The arrows of docs/architecture.md, held against the imports of every module."""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOUSE = ("benchmarks", "components", "pipelines", "serving")
GRAPHS = {
    path.stem.removesuffix("_faces").removesuffix("_yolo") for path in (ROOT / "pipelines" / "compiled").glob("*.yaml")
}
PIPELINES_ROOT = GRAPHS | {
    "__init__",
    "catalog",
    "intermediate",
    "resources",
}
NOT_STEPS = {"shared", "container_images"}
ALONE = {"av": "video", "ultralytics": "train_yolo"}
"""By package that is under another license: the only step that may import it."""
ULTRALYTICS_DOOR = "components.train_yolo.library"
FOREIGN_TO_SERVING = {"torch", "torchvision", "kfp", "mlflow", "cv2", "sklearn", "pandas"}


def modules() -> list[Path]:
    return sorted(path for folder in HOUSE for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, own_name: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{own_name} has a relative import on line {node.lineno}; write the full name"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(name: str) -> tuple[str, str]:
    """(layer, step) of a dotted name of ours; step is empty outside steps."""
    parts = name.split(".")
    if parts[0] == "components":
        if len(parts) == 1 or parts[1] in NOT_STEPS:
            return ("container_images" if parts[1:2] == ["container_images"] else "shared"), ""
        return "step", parts[1]
    if parts[0] == "serving":
        return ("runtime" if parts[1:2] == ["runtime"] else "server"), ""
    return parts[0], ""


ALLOWED = {
    "benchmarks": {"benchmarks", "pipelines", "step", "shared", "runtime", "container_images"},
    "pipelines": {"pipelines", "step", "shared", "runtime", "container_images"},
    "step": {"step", "shared", "runtime"},
    "shared": {"shared", "runtime"},
    "server": {"server", "runtime"},
    "runtime": {"runtime"},
    "container_images": set(),
}


def wrong_arrows(name: str, tree: ast.AST) -> list[str]:
    own_layer, own_step = layer(name)
    is_door = name.endswith(".component")
    faults = []
    for target in imports(tree, name):
        if target.split(".")[0] not in HOUSE:
            root = target.split(".")[0]
            if own_layer in ("runtime", "server") and root in FOREIGN_TO_SERVING:
                faults.append(f"{name} imports {target}: serving runs without it")
            if own_layer in ("step", "shared") and root == "kfp" and not is_door:
                faults.append(f"{name} imports {target}: logic knows no KFP")
            if own_step != ALONE.get(root, own_step):
                faults.append(f"{name} imports {target}: only {ALONE[root]} may")
            if root == "ultralytics" and name != ULTRALYTICS_DOOR:
                faults.append(f"{name} imports {target}: {ULTRALYTICS_DOOR} alone does, which keeps it quiet")
            continue
        target_layer, target_step = layer(target)
        allowed = ALLOWED[own_layer] | ({"container_images"} if is_door else set())
        if target_layer not in allowed:
            faults.append(f"{name} imports {target}: {own_layer} may not import {target_layer}")
        elif own_layer == target_layer == "step" and own_step != target_step:
            faults.append(f"{name} imports {target}: a step never imports another step")
        if own_layer in ("step", "shared") and "component" in target.split("."):
            faults.append(f"{name} imports {target}: logic never imports a component.py")
    return faults


def test_every_arrow_points_the_right_way() -> None:
    assert len(modules()) > 30, "the search for modules found too little to mean anything"
    faults = [
        fault for path in modules() for fault in wrong_arrows(module_name(path), ast.parse(path.read_text("utf-8")))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("serving.runtime.card", "from components.shared.dataset import archive"),
        ("serving.runtime.card", "import torch"),
        ("serving.runtime.card", "from serving.server import app"),
        ("components.shared.metrics.x", "from components.split.split import split"),
        ("components.split.split", "from components.ingest.ingest import ingest"),
        ("components.split.split", "from components.split.component import split"),
        ("components.split.split", "import kfp"),
        ("components.split.split", "from serving.server.http.app import build"),
        ("components.split.split", "from pipelines import settings"),
        ("components.split.split", "def f():\n    import kfp.dsl"),
        ("components.split.split", "from ultralytics import YOLO"),
        ("components.shared.models.x", "import ultralytics.nn"),
        ("pipelines.local.run", "import av"),
        ("components.train_yolo.train", "def f():\n    from ultralytics.utils import checks"),
        ("pipelines.command.main", "from serving.server.http.app import build"),
    ],
)
def test_a_wrong_arrow_is_seen(name: str, source: str) -> None:
    assert wrong_arrows(name, ast.parse(source))


def test_the_root_of_pipelines_holds_graphs_and_what_they_share() -> None:
    """The command line, the local runner, the cluster client and the samples are in folders of their own."""
    assert {path.stem for path in (ROOT / "pipelines").glob("*.py")} == PIPELINES_ROOT


def internal_imports() -> dict[str, set[str]]:
    """By module: the modules of ours that it imports."""
    names = {module_name(path): path for path in modules()}
    return {
        name: {
            target if target in names else target.rpartition(".")[0]
            for target in imports(ast.parse(path.read_text("utf-8")), name)
            if target in names or target.rpartition(".")[0] in names
        }
        - {name}
        for name, path in names.items()
    }


def find_cycle(graph: dict[str, set[str]]) -> tuple[str, ...]:
    """The nodes of a cycle; empty when there is none."""
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return tuple(error.args[1])
    return ()


def test_modules_import_each_other_in_no_cycle() -> None:
    assert not find_cycle(internal_imports())
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}})


def test_sibling_folders_import_each_other_in_no_cycle() -> None:
    graphs: dict[str, dict[str, set[str]]] = {}
    for name, targets in internal_imports().items():
        for target in targets:
            one, other = name.split("."), target.split(".")
            common = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
            if common + 1 < min(len(one), len(other)):
                siblings = graphs.setdefault(".".join(one[:common]), {})
                siblings.setdefault(one[common], set()).add(other[common])
    assert len(graphs) > 5
    for folder, graph in graphs.items():
        assert not find_cycle(graph), f"in {folder or 'the repository'}"


def test_the_graphs_do_not_know_the_command_line_or_the_runners() -> None:
    """Inside pipelines: command -> local, cluster -> graphs and what they share; samples and environment are leaves."""
    below = {"graphs": {"parameters", "graphs"}, "parameters": {"parameters"}}
    below["samples"] = below["graphs"] | {"samples"}
    below["environment"] = {"environment"}
    below["local"] = below["cluster"] = below["samples"] | {"environment"}
    for name, targets in internal_imports().items():
        room = pipelines_room(name)
        if room and room != "command":
            rooms = {pipelines_room(target) for target in targets} - {"", room}
            assert rooms <= below[room], f"{name} imports {sorted(rooms - below[room])}"


def pipelines_room(name: str) -> str:
    """The folder of a module of pipelines; `graphs` for those at its root and their parts, empty for other modules."""
    folders = name.split(".")
    if folders[0] != "pipelines":
        return ""
    return folders[1] if len(folders) > 2 and folders[1] != "parts" else "graphs"


def component_files() -> list[Path]:
    found = sorted((ROOT / "components").glob("*/component.py"))
    assert found
    return found


@pytest.mark.parametrize("path", component_files(), ids=lambda path: path.parent.name)
def test_a_component_imports_only_kfp_and_its_image_at_the_top(path: Path) -> None:
    allowed = sys.stdlib_module_names | {"kfp", "components.container_images"}
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            assert name.split(".")[0] in allowed or name in allowed, f"{path}: {name} belongs inside the body"
            assert name != "__future__.annotations", f"{path}: KFP needs real annotations"


@pytest.mark.parametrize("path", component_files(), ids=lambda path: path.parent.name)
def test_every_component_parameter_has_its_docstring_line(path: Path) -> None:
    from docstring_parser import parse

    doors = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)]
    assert doors, f"{path} has no component"
    for door in doors:
        docstring = ast.get_docstring(door)
        assert docstring, f"{path}: {door.name} has no docstring"
        described = {param.arg_name for param in parse(docstring).params if param.description}
        parameters = {argument.arg for argument in [*door.args.args, *door.args.kwonlyargs]}
        assert parameters == described, f"{path}: {door.name} and its Args: differ in {sorted(parameters ^ described)}"
        imported = [name for node in door.body for name in imports(node, path.name)]
        assert any(name.startswith(f"components.{path.parent.name}.") for name in imported), f"{path}: {door.name}"


def test_the_docker_sdk_is_found_beside_our_docker_folder() -> None:
    import docker

    assert (ROOT / "docker").is_dir()
    assert not (ROOT / "docker" / "__init__.py").exists()
    assert hasattr(docker, "DockerClient")
