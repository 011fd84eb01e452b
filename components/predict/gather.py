"""The predictions of all shards of a data set as one table."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from components.shared.dataset.annotations import read_annotations
from components.shared.prediction.results import ModelFacts, PredictedPhoto, table_of
from components.shared.prediction.tables import Part, write_table
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.output import check_output

_PHOTOS = 512
"""Photos that are in memory at a time."""
_EXAMPLES = 5

_T = TypeVar("_T")


def gather_predictions(
    predictions: Sequence[Path],
    annotations: Path,
    table: Path,
    *,
    format: str = "csv",  # noqa: A002
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
    names = {image.id: image.file_name for image in read_annotations(annotations).images}
    counts: Counter[str] = Counter(photos=0, rows=0, failed=0)
    counts["rows"] = write_table(_parts(predictions, names, counts), table, format)
    return dict(counts)


def _parts(shards: Sequence[Path], names: dict[int, str], counts: Counter[str]) -> Iterator[Part]:
    """Yield the rows of the shards; `names` are the photos by id, and are taken out as they come."""
    first: ModelFacts | None = None
    for shard in shards:
        facts: ModelFacts | None = None
        photos: list[PredictedPhoto] = []
        for line in _lines(shard):
            if facts is None:
                facts = _decoded(shard, line, ModelFacts)
                first = first or facts
                if facts != first:
                    raise InputError(
                        f"{shard}: predicted by {facts.name} {facts.version}, and {shards[0]} by {first.name} "
                        f"{first.version}, or of another data set; predict all shards alike"
                    )
                continue
            photo = _decoded(shard, line, PredictedPhoto)
            if names.pop(photo.image_id, None) != photo.path:
                raise InputError(f"{shard}: photo {photo.path} is in two shards, or not in the annotations")
            counts["photos"] += 1
            counts["failed"] += len(photo.failures)
            photos.append(photo)
            if len(photos) == _PHOTOS:
                yield table_of(facts, photos)
                photos = []
        if facts is None:
            raise InputError(f"{shard}: is empty; expected what predict_shard wrote")
        yield table_of(facts, photos)
    if names:
        examples = ", ".join(list(names.values())[:_EXAMPLES])
        raise InputError(f"{len(names)} photos of the annotations are in no shard ({examples}); predict all shards")


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError(f"{path}: no such file of predictions") from error


def _decoded(path: Path, line: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"{path}: not what predict_shard wrote: {error}") from error
