"""The drawn sample data in S3: what the pipeline reads when no source is named."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from pipelines.config import DRAWN_FACES
from pipelines.sample_data import PERSONS, draw_sample
from serving.runtime.storage import Location, make_bucket, upload


def put_sample(*, persons: int = PERSONS, show: Callable[[str], None] = print) -> None:
    """Draws the sample data and puts them to `DRAWN_FACES`, unless they are there.

    A description beside them is written last, so that an upload that was cut short is done again.

    Raises:
        StorageError: when S3 cannot be used.
    """
    description = Location(f"{DRAWN_FACES}.json")
    if description.exists():
        return
    make_bucket(description.bucket)
    with tempfile.TemporaryDirectory() as scratch:
        faces = Path(scratch, "faces")
        pictures = draw_sample(faces, persons=persons)
        upload(faces, DRAWN_FACES)
        facts = Path(scratch, "facts.json")
        facts.write_text(json.dumps({"persons": persons, "pictures": pictures, "seed": 0}, sort_keys=True) + "\n")
        upload(facts, description.uri)
    show(f"drew    {pictures} pictures of {persons} persons to {DRAWN_FACES}")
