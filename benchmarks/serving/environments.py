"""An environment of its own for every peer, installed once from versions pinned in `peers/<name>.txt`."""

import hashlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("peers")
SAME = ("numpy", "onnxruntime", "pillow")
"""What every peer has in the version that we have."""
MORE: dict[str, tuple[str, ...]] = {"naive": ("opencv-python-headless",), "torchserve": ("torch",)}
"""The same, for some: torch is large, and in uv's cache it is our own."""


def requirements(name: str) -> list[str]:
    """Return what the environment of a peer has: its pinned versions, and ours of the libraries that all share."""
    pinned = (REQUIREMENTS / f"{name}.txt").read_text().split("\n")
    shared = [f"{library}=={version(library)}" for library in (*SAME, *MORE.get(name, ()))]
    return [line for line in pinned if line and not line.startswith("#")] + shared


def install(name: str, folder: Path) -> Path:
    """Make the environment of a peer below `folder` unless it is there as it should be, and return its path.

    Raises subprocess.CalledProcessError when a package cannot be installed; uv has said why.
    """
    environment = folder / name
    wanted = "\n".join(requirements(name))
    mark = environment / ".installed"
    digest = hashlib.sha256(wanted.encode()).hexdigest()
    if mark.exists() and mark.read_text() == digest:
        return environment
    uv = Path(sys.executable).with_name("uv")
    print(f"installing {name}", flush=True)
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, environment], check=True)
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", environment / "bin" / "python", "--requirements", "-"],
        input=wanted,
        text=True,
        check=True,
    )
    mark.write_text(digest)
    return environment


def pinned_version(name: str) -> str:
    """Return the version of what a peer is named after, from the first line of its file."""
    first = (REQUIREMENTS / f"{name}.txt").read_text().split("\n", 1)[0]
    package = first.rsplit(": ", 1)[1].split()[0].partition("==")[0].partition("[")[0]
    lines = (REQUIREMENTS / f"{name}.txt").read_text().split("\n")
    return next(f"{package} {line.partition('==')[2]}" for line in lines if line.startswith(f"{package}=="))
