"""The drawn sample data in S3: what the pipeline reads when no source is named, or one of `SAMPLES`."""

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pipelines.parameters.pipeline import DRAWN_EMOTIONS, DRAWN_FACES
from pipelines.samples import aihub as sample_aihub
from pipelines.samples import profiles as sample_data
from serving.runtime.storage import Location, make_bucket, upload

SAMPLES: dict[str, tuple[Callable[..., int], int]] = {
    DRAWN_FACES: (sample_data.draw_sample, sample_data.PERSONS),
    DRAWN_EMOTIONS: (partial(sample_aihub.draw_aihub_sample, layout="archives"), sample_aihub.PERSONS),
}
"""By address: what draws the data into a folder, and how many persons they have by default."""


def draw(source: str, folder: Path, persons: int | None = None) -> tuple[int, int]:
    """Draws one of `SAMPLES` into a folder that does not exist yet; returns the pictures and the persons."""
    drawing, default = SAMPLES[source]
    persons = default if persons is None else persons
    return drawing(folder, persons=persons), persons


def put_sample(source: str, *, persons: int | None = None, show: Callable[[str], None] = print) -> None:
    """Draws one of `SAMPLES` and puts it to its address, unless it is there.

    A description beside it is written last, so that an upload that was cut short is done again.

    Raises:
        StorageError: when S3 cannot be used.
    """
    description = Location(f"{source}.json")
    if description.exists():
        return
    make_bucket(description.bucket)
    with tempfile.TemporaryDirectory() as scratch:
        faces = Path(scratch, "faces")
        pictures, persons = draw(source, faces, persons)
        upload(faces, source)
        facts = Path(scratch, "facts.json")
        facts.write_text(json.dumps({"persons": persons, "pictures": pictures, "seed": 0}, sort_keys=True) + "\n")
        upload(facts, description.uri)
    show(f"drew    {pictures} pictures of {persons} persons to {source}")
