"""The drawn data in S3: uploaded once, and read with the config that names them."""

import pytest

from components.ingest.ingest import ingest
from pipelines.command.config import resolve
from pipelines.parameters.pipeline import DRAWN_EMOTIONS, DRAWN_FACES, DRAWN_GROUPS
from pipelines.samples.put import SAMPLES, put_sample
from serving.runtime.storage import Location


@pytest.mark.parametrize(("source", "config"), [(DRAWN_FACES, ""), (DRAWN_EMOTIONS, "emotion")])
def test_uploaded_once_and_readable_with_its_config(s3, tmp_path, source, config) -> None:
    lines: list[str] = []
    for _ in range(2):
        put_sample(source, persons=6, echo=lines.append)
    assert lines == [f"drew    42 pictures of 6 persons to {source}"]
    assert set(SAMPLES) == {DRAWN_FACES, DRAWN_EMOTIONS, DRAWN_GROUPS}
    assert Location(f"{source}.json").exists()
    resolved = resolve(config, [], {})
    assert resolved.source == source
    options = {**resolved.ingest_options, "max_dropped": 0.2}
    report = ingest(source, tmp_path / "images", tmp_path / "faces.json", format=resolved.format, options=options)
    assert report.counts.persons == 6
    assert report.counts.images + sum(report.dropped.values()) >= 42
