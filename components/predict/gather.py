"""The predictions of all shards of a data set as one table."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from components.shared.dataset.annotations import read_annotations
from components.shared.prediction.results import ModelFacts, PredictedPhoto, table_of
from components.shared.prediction.tables import Part, write_table
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.output import check_output

_PHOTOS = 512
"""Photos that are in memory at a time."""
_EXAMPLES = 5


def gather_predictions(
    predictions: Sequence[Path], annotations: Path, table: Path, *, format: str = "csv"  # noqa: A002
) -> dict[str, int]:
    """Write the predictions of all shards as one table, in the order of the shards.

    Args:
        predictions: files of `predict_shard`, in the order of the shards.
        annotations: COCO JSON with the photos that the shards are of.
        table: the file to write.
        format: one of `tables.FORMATS`.

    Returns:
        How many photos, rows and failures there are.

    Raises:
        NotFoundError: there is no such file.
        InputError: a file is none of `predict_shard`, the shards are of several models or data sets, or a photo of the
            annotations is in none of them or in two.
    """
    check_output(table, annotations, *predictions)
    shards = _Shards(predictions)
    rows = write_table(shards.parts(), table, format)
    expected = {image.id for image in read_annotations(annotations).images}
    shards.check(expected)
    return {"photos": len(shards.seen), "rows": rows, "failed": shards.failed}
