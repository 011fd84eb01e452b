"""The variables that a training on a CPU runs with, here and in its image."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.local.run import TRAINING_ENVIRONMENT

DOCKERFILE = Path(__file__).parents[3] / "docker" / "Dockerfile"
FAULTS = """
import resource
import numpy as np

def work():
    for _ in range(200):
        parts = [np.ones(1_000_000, np.uint8) for _ in range(8)]
        del parts

work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(**variables: str) -> int:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", FAULTS]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=kept | variables).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_the_memory_of_a_picture_is_used_for_the_next_one() -> None:
    """Each of the 200 rounds of 8 MB costs about 1,900 page faults by default."""
    assert page_faults(**TRAINING_ENVIRONMENT) < 0.05 * page_faults()


def test_the_image_that_trains_has_the_same_variables() -> None:
    (line,) = re.findall(r"^FROM runtime AS train\n#.*\nENV (.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert dict(entry.split("=") for entry in line.split()) == TRAINING_ENVIRONMENT
