"""Models over the photos of one shard of a data set."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from components.shared.dataset.annotations import read_annotations
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.shards import images_of_shard
from components.shared.prediction.ensemble import Ensemble, open_models
from components.shared.prediction.inputs import Failure, check_failures
from components.shared.prediction.photo_set import ALL, GivenFace, GivenPhoto, PhotoSet, photo_set_of
from components.shared.prediction.results import ModelFacts, PredictedPhoto
from components.shared.prediction.stream import predicted_photos
from serving.runtime.machine import usable_cpus
from serving.runtime.output import check_output, whole_file
from serving.runtime.registry import version_uri


def resolve_models(models: Sequence[str]) -> list[str]:
    """Return addresses of models with versions in place of aliases; errors as of `version_uri`."""
    return [version_uri(model) for model in models]


def predict_shard(
    images: Path,
    annotations: Path,
    output: Path,
    models: Sequence[str],
    *,
    shard: int = -1,
    images_per_shard: int = 2000,
    combine: str = "mean",
    tta: Sequence[str] = (),
    workers: int = 0,
    max_failed: int = 0,
) -> dict[str, int]:
    """Write what models say of the photos of a shard as JSON lines: `ModelFacts`, then a `PredictedPhoto` each.

    Args:
        images: folder with the image archives.
        annotations: COCO JSON with the photos. Classifiers see their faces; where the data have no face at all, each
            photo is one.
        output: the file to write.
        models: addresses of one or several classifiers, or of one detector or composite, which find the faces.
        shard: which one, from 0 on, by the order of the image ids; -1 for all photos.
        images_per_shard: photos of one shard.
        combine: how several classifiers are combined.
        tta: views of each face besides itself.
        workers: threads; 0 takes one per CPU.
        max_failed: how many faces of the shard may fail, of models that find their own how many photos.

    Returns:
        How many photos and faces were predicted, and how many failed.

    Raises:
        InputError: there is no such shard, the models cannot be combined, or too many faces failed.
        NotFoundError: no such registered model, version or alias.
        StorageError: an address cannot be reached or holds no model.
    """
    check_output(output, images, annotations)
    model = open_models(models, combine=combine, tta=tta)
    photos = _photos(images, annotations, shard, images_per_shard)
    count = faces = 0
    failed: list[tuple[str, Failure]] = []
    done = predicted_photos(model, photos, workers=workers or usable_cpus())
    with whole_file(output) as partial, partial.open("wb") as file:
        for line in _lines(ModelFacts.of(model, photos.digest), done):
            if isinstance(line, PredictedPhoto):
                count += 1
                faces += len(line.rows)
                failed += [(line.path, failure) for failure in line.failures]
            file.write(msgspec.json.encode(line) + b"\n")
        given = isinstance(model, Ensemble)
        total = photos.faces() if given else len(photos.photos)
        check_failures(failed, max_failed, total, "faces" if given else "photos", may_be_all=True)
    return {"photos": count, "faces": faces, "failed": len(failed)}


def _photos(images: Path, annotations: Path, shard: int, images_per_shard: int) -> PhotoSet:
    data = read_annotations(annotations)
    chosen = images_of_shard(data.images, shard, images_per_shard)
    photos = photo_set_of(ImageArchive(images), replace(data, images=tuple(chosen)), ALL, may_be_empty=True)
    if any(image.faces for image in data.images):
        return photos
    return replace(photos, photos=[_whole(photo) for photo in photos.photos])


def _whole(photo: GivenPhoto) -> GivenPhoto:
    return replace(photo, faces=(GivenFace(photo.id, None),))


def _lines(facts: ModelFacts, photos: Iterator[PredictedPhoto]) -> Iterator[ModelFacts | PredictedPhoto]:
    yield facts
    yield from photos
