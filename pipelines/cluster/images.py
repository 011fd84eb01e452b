"""Container images of a submission."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from components import container_images
from pipelines.environment.settings import Settings
from pipelines.intermediate import IMAGE_VARIABLES
from pipelines.parameters.pipeline import matching
from serving.runtime.errors import InputError
from serving.runtime.validation import explain

FILE = "images.json"
"""In `FACET_HOME`, written by `make push`: a JSON object of image references by `FACET_IMAGE_...`."""

_Variable = Annotated[str, matching(r"FACET_IMAGE_\w+", "expected FACET_IMAGE_DATA, FACET_IMAGE_TRAIN, ...")]
_Reference = Annotated[
    str,
    matching(r"\w[\w.:/-]*(@sha256:[0-9a-f]{64})?", "expected registry/name:tag or registry/name@sha256:<64 digits>"),
]
_IMAGES = TypeAdapter(dict[_Variable, _Reference])


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
    try:
        return _IMAGES.validate_json(file.read_bytes()) if file.exists() else {}
    except ValidationError as error:
        raise InputError(f"{file}: {explain(error)}; run `make push` again, or remove the file") from error
