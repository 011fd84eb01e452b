"""Drawn sample data in S3: the default source of a pipeline, and the others of `SAMPLES`."""

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pipelines.parameters.pipeline import DRAWN_EMOTIONS, DRAWN_FACES, DRAWN_GROUPS
from pipelines.samples import aihub, groups, profiles
from serving.runtime.storage import Location, make_bucket, upload

SAMPLES: dict[str, tuple[Callable[..., int], int]] = {
    DRAWN_FACES: (profiles.draw_sample, profiles.PERSONS),
    DRAWN_EMOTIONS: (partial(aihub.draw_aihub_sample, layout="archives"), aihub.PERSONS),
    DRAWN_GROUPS: (groups.draw_groups, groups.PERSONS),
}
"""By address: the function that draws the data into a folder, and its default number of persons."""


def draw(source: str, folder: Path, persons: int | None = None) -> tuple[int, int]:
    """Draws one of `SAMPLES` into a new folder; returns the number of pictures and of persons."""
    drawing, default = SAMPLES[source]
    persons = default if persons is None else persons
    return drawing(folder, persons=persons), persons


def put_sample(source: str, *, persons: int | None = None, echo: Callable[[str], None] = print) -> None:
    """Draws one of `SAMPLES` and uploads it to its address, unless it is there.

    A description beside it is written last, so that an interrupted upload is repeated.

    Raises:
        StorageError: S3 cannot be used.
    """
    description = Location(f"{source}.json")
    if description.exists():
        return
    make_bucket(description.bucket)
    with tempfile.TemporaryDirectory() as scratch:
        faces = Path(scratch, "faces")
        pictures, persons = draw(source, faces, persons)
        upload(faces, source)
        file = Path(scratch, "description.json")
        file.write_text(json.dumps({"persons": persons, "pictures": pictures, "seed": 0}, sort_keys=True) + "\n")
        upload(file, description.uri)
    echo(f"drew    {pictures} pictures of {persons} persons to {source}")
