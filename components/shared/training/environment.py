"""Library versions, machine and code revision of a training, recorded for reproducibility."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

LIBRARIES = ("numpy", "pillow", "simplejpeg", "torch", "torchvision")


def versions() -> dict[str, str]:
    """Return the versions of the libraries that weights depend on."""
    return {name: version(name) for name in LIBRARIES}


def environment(device: torch.device) -> dict[str, str]:
    """Return the machine, the device and, where it is known, the git revision of the code."""
    revision = git_revision()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": str(torch.get_num_threads()),
        **({"git_revision": revision} if revision else {}),
    }


def git_revision() -> str:
    """Return the commit of this code, with the suffix "+changes" where files differ; "" outside of a git checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    quiet = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, env=quiet)
        if commit.returncode:
            return ""
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, timeout=30, env=quiet)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return commit.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")
