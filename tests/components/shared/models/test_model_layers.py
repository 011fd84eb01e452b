"""The layers within shared/models: `spec` and `zoo` import nothing of what assembles them."""

import ast
from pathlib import Path

import pytest

MODELS = Path(__file__).parents[4] / "components" / "shared" / "models"
ROOM = "components.shared.models."
FOREIGN = {"spec": {"torch", "torchvision"}, "zoo": set()}


def imports(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("room", FOREIGN)
def test_a_room_imports_only_itself_and_lower_layers(room: str) -> None:
    files = sorted({*MODELS.glob(f"{room}.py"), *(MODELS / room).rglob("*.py")})
    assert files
    for file in files:
        for name in imports(file):
            assert not name.startswith(ROOM) or name.startswith(f"{ROOM}{room}."), f"{file} imports {name}"
            assert name.split(".")[0] not in FOREIGN[room], f"{file} imports {name}"
