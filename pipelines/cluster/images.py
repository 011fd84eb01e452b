"""The container images of a submission."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components import container_images
from pipelines.environment.settings import Settings
from pipelines.intermediate import IMAGE_VARIABLES
from serving.runtime.errors import InputError

FILE = "images.json"
"""In `FACET_HOME`: a JSON object from `FACET_IMAGE_...` to a reference, which `make push` writes."""

_REFERENCE = re.compile(r"[\w][\w.:/-]*(@sha256:[0-9a-f]{64})?")


def place_images(spec: dict[str, Any], settings: Settings, show: Callable[[str], None]) -> None:
    """Puts the images of this machine into an IR: the environment's, then those of `images.json`; shows them.

    Raises:
        InputError: when the file is not what it should be.
    """
    pushed = _read(settings.home / FILE)
    wanted = {}
    for variable in IMAGE_VARIABLES:
        compiled = getattr(container_images, variable.removeprefix("FACET_IMAGE_"))
        wanted[compiled] = os.environ.get(variable) or pushed.get(variable) or compiled
    for executor in spec["deploymentSpec"]["executors"].values():
        container = executor["container"]
        container["image"] = wanted.get(container["image"], container["image"])
    used = sorted({executor["container"]["image"] for executor in spec["deploymentSpec"]["executors"].values()})
    for image in used:
        show(f"image   {image}")
    loose = [image for image in used if "@sha256:" not in image]
    if loose:
        show(
            f"warning {', '.join(loose)}: a tag without a digest; the cluster's cache cannot see when such an image "
            f"changes. `make push REGISTRY=...` writes digests to {settings.home / FILE}"
        )


def _read(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: is not JSON ({error}): run `make push` again, or remove it") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: expected an object of FACET_IMAGE_... and references, got {type(content).__name__}")
    for name, reference in content.items():
        if not name.startswith("FACET_IMAGE_"):
            raise InputError(f"{file}: '{name}' names no image: expected FACET_IMAGE_DATA, FACET_IMAGE_TRAIN, ...")
        if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
            raise InputError(
                f"{file}: {name} = {reference!r}: expected registry/name:tag or registry/name@sha256:<64 digits>"
            )
    return content
