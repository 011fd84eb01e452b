"""Container images of a submission."""

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
"""In `FACET_HOME`, written by `make push`: a JSON object of image references by `FACET_IMAGE_...`."""

_REFERENCE = re.compile(r"[\w][\w.:/-]*(@sha256:[0-9a-f]{64})?")


def set_images(spec: dict[str, Any], settings: Settings, echo: Callable[[str], None]) -> None:
    """Replaces the images of an IR by those of the environment, else of `images.json`, and shows them.

    Raises:
        InputError: `images.json` is invalid.
    """
    pushed = _read(settings.home / FILE)
    replacements = {}
    for variable in IMAGE_VARIABLES:
        compiled = getattr(container_images, variable.removeprefix("FACET_IMAGE_"))
        replacements[compiled] = os.environ.get(variable) or pushed.get(variable) or compiled
    containers = [executor["container"] for executor in spec["deploymentSpec"]["executors"].values()]
    for container in containers:
        container["image"] = replacements.get(container["image"], container["image"])
    used = sorted({container["image"] for container in containers})
    for image in used:
        echo(f"image   {image}")
    tags = [image for image in used if "@sha256:" not in image]
    if tags:
        echo(
            f"warning {', '.join(tags)}: a tag without a digest; the cluster's cache does not notice when the image "
            f"changes. `make push REGISTRY=...` writes digests to {settings.home / FILE}"
        )


def _read(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: invalid JSON ({error}): run `make push` again, or remove it") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: expected an object of FACET_IMAGE_... and references, got {type(content).__name__}")
    for name, reference in content.items():
        if not name.startswith("FACET_IMAGE_"):
            raise InputError(
                f"{file}: '{name}' is not an image variable: expected FACET_IMAGE_DATA, FACET_IMAGE_TRAIN, ..."
            )
        if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
            raise InputError(
                f"{file}: {name} = {reference!r}: expected registry/name:tag or registry/name@sha256:<64 digits>"
            )
    return content
