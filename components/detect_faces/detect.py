"""The detection step: every face of the images of a shard, with all CPUs."""

import hashlib
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from components.detect_faces.box_table import boxes_of_images
from components.detect_faces.chain import Chain, open_chain
from components.detect_faces.config import OWN_BOXES, DetectOptions
from components.detect_faces.detections import (
    ChainRecord,
    FoundFaces,
    MemberRecord,
    read_images,
    write_detections,
    write_images,
)
from components.detect_faces.shards import read_data_set
from components.shared.cache import cached_folder, library_versions
from components.shared.chain_file import ChainFile, read_chain
from components.shared.dataset.annotations import Image
from components.shared.dataset.pictures import Pictures
from components.shared.dataset.shards import ALL, images_of_shard
from components.shared.dataset.tally import Tally
from components.shared.options import parse_options
from components.shared.progress import progress
from serving.runtime.errors import ImageError, InputError
from serving.runtime.image.photo import Photo
from serving.runtime.machine import usable_cpus
from serving.runtime.ordered_map import ordered_map
from serving.runtime.output import check_output

_BLOCK = 500
"""So many images are one entry of the cache."""

_AHEAD = 4
_RESULTS = 1
"""Another number where the same detectors give other results by this code."""

_LIBRARIES = ("dlib", "dlib-bin", "numpy", "onnxruntime", "pi-heif", "pillow", "simplejpeg")
"""The distributions that decode photos and find faces."""


_log = logging.getLogger(__name__)


def detect_faces(
    images: Path,
    detectors: Path,
    output: Path,
    *,
    annotations: Path | None = None,
    shard: int = ALL,
    images_per_shard: int = 20000,
    options: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Write what a chain of detectors finds in the images of a shard, in the order of the image ids.

    Results of unchanged images, detectors and options are taken from the cache where there is one, see
    `components.shared.cache`.

    Args:
        images: image archives; without annotations also a folder tree or a ZIP archive of photos.
        detectors: what adopt_detectors wrote.
        output: the file to write, see `detections`.
        annotations: the COCO file about the images; None takes every photo as an image.
        shard: which images, ALL or a number of detection_shards.
        images_per_shard: as for detection_shards.
        options: see `config.DetectOptions`.

    Returns:
        Metrics: `images`, and those that `failed`; plausible `faces`, and `implausible` ones; images with `none` and
        with `several`; and those whose faces a detector found, as `found_by/<name>`.

    Raises:
        InputError: an option or the shard is wrong, images are missing or are other ones than annotated, the folder of
            detectors is none, or more images than allowed cannot be decoded.
    """
    limits = parse_options(DetectOptions, options or {}, "options of detect_faces")
    check_output(output, images, detectors, *([annotations] if annotations else []))
    chain = read_chain(detectors)
    pictures, everything = read_data_set(images, annotations)
    chosen = images_of_shard(everything, shard, images_per_shard)
    record = _record(chain, detectors, limits, everything if shard in (ALL, 0) else [])
    counts: Counter[str] = Counter(images=len(chosen))
    with ExitStack() as stack:
        workers = usable_cpus()
        opened = cache(lambda: stack.enter_context(open_chain(detectors, everything, workers)))
        key = {
            "results": _RESULTS,
            "libraries": library_versions(_LIBRARIES),
            "chain": record.sha256,
            "names": _names_digest(chain, everything),
        }
        if all(member.kind != OWN_BOXES for member in chain.members):
            chosen = [replace(image, faces=()) for image in chosen]  # the results do not depend on them
        found = _search_all(chosen, pictures, opened, limits, key, workers)
        write_detections(output, record, _counted(progress(found, "detect", len(chosen)), counts, limits.max_failed))
    _log.info(
        "%s images: %s plausible faces, %s images without one, %s images cannot be decoded",
        *(f"{counts[name]:,}" for name in ("images", "faces", "none", "failed")),
    )
    return {name: float(count) for name, count in counts.items()}


def _record(chain: ChainFile, folder: Path, limits: DetectOptions, images: Sequence[Image]) -> ChainRecord:
    """Return the first line of the detections; the unused rows of tables are those that name none of `images`."""
    unused = Tally()
    for member in chain.members:
        if member.kind == "table" and images:
            rows = boxes_of_images(folder / member.file, images)[1]
            unused.update(
                Tally(
                    {f"{member.name}: {reason}": count for reason, count in rows.counts.items()},
                    {f"{member.name}: {reason}": names for reason, names in rows.examples.items()},
                )
            )
    content = {"chain": chain.model_dump(mode="json"), "limits": limits.model_dump(exclude={"max_failed"})}
    return ChainRecord(
        members=tuple(MemberRecord(member.name, member.threshold, member.points) for member in chain.members),
        sha256=_sha256(content),
        unused=unused.counts,
        unused_examples=unused.examples,
    )


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _names_digest(chain: ChainFile, images: Sequence[Image]) -> str:
    """Return a digest of all names of images where a table's paths are looked up in them."""
    if all(member.kind != "table" for member in chain.members):
        return ""
    return _sha256([[image.file_name, image.source] for image in images])


def _search_all(
    images: Sequence[Image],
    pictures: Pictures,
    opened: Callable[[], Chain],
    limits: DetectOptions,
    key: Mapping[str, Any],
    workers: int,
) -> Iterator[FoundFaces]:
    """Yield what is found in each image, block by block from the cache or by the chain."""

    def search(image: Image) -> FoundFaces:
        named = image
        try:
            data = pictures.read(image.file_name, image.sha256)
            named = replace(image, sha256=image.sha256 or hashlib.sha256(data).hexdigest())
            return opened().find(named, Photo(data), limits)
        except ImageError as error:
            return FoundFaces(image.file_name, named.sha256, failed=(error.reason, str(error)))

    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK]

        def make(folder: Path, block: Sequence[Image] = block) -> dict[str, Any]:
            opened()  # on this thread, once
            found = ordered_map(search, block, workers=workers, ahead=_AHEAD * workers)
            write_images(folder / "found.jsonl", (faces for _, faces in found))
            return {}

        with tempfile.TemporaryDirectory() as scratch:
            parts = {**key, "images": [_identity(image, pictures) for image in block]}
            cached_folder("detect_faces", parts, Path(scratch, "block"), make)
            yield from read_images(Path(scratch, "block", "found.jsonl"))


def _identity(image: Image, pictures: Pictures) -> list[Any]:
    """Return what the result for an image depends on, beside the detectors."""
    try:
        sha256 = image.sha256 or hashlib.sha256(pictures.read(image.file_name)).hexdigest()
    except ImageError as error:
        sha256 = str(error)
    return [image.file_name, sha256, [face.box for face in image.faces]]


def _counted(found: Iterator[FoundFaces], counts: Counter[str], max_failed: int) -> Iterator[FoundFaces]:
    """Yield what was found and count it. Raises InputError as soon as too many images have failed."""
    failed = Tally()
    for faces in found:
        plausible = len(faces.plausible)
        if faces.failed:
            failed.add(faces.failed[0], f"{faces.file_name}: {faces.failed[1]}")
            check_failed(failed, max_failed)
        counts["failed"] += bool(faces.failed)
        counts["faces"] += plausible
        counts["implausible"] += len(faces.faces) - plausible
        counts["none"] += not plausible and not faces.failed
        counts["several"] += plausible > 1
        if faces.member:
            counts[f"found_by/{faces.member}"] += 1
        yield faces


def check_failed(failed: Tally, max_failed: int) -> None:
    """Raise InputError when more images than allowed could not be decoded."""
    if failed.total > max_failed:
        raise InputError(
            f"at least {failed.total} images cannot be decoded: {failed}; repair or remove them, or allow some with "
            "the option max_failed"
        )
