"""The choice of faces: what was found becomes the boxes of the annotations, and every image is kept or listed."""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from components.detect_faces.assign import Assignment, assign
from components.detect_faces.config import OWN_BOXES, ChooseOptions
from components.detect_faces.detect import check_failed
from components.detect_faces.detections import ChainRecord, FoundFaces, read_detections
from components.detect_faces.fallback import Fallback
from components.detect_faces.report import counts_of, render_page
from components.detect_faces.result import UNREADABLE, Chooser, Result, left_out
from components.shared.dataset.annotations import (
    Annotations,
    Box,
    Face,
    Image,
    count_images,
    images_digest,
    read_annotations,
    write_annotations,
)
from components.shared.dataset.info import DatasetInfo, DetectionInfo
from components.shared.dataset.pictures import check_present, find_pictures
from components.shared.dataset.tally import Tally
from components.shared.dataset.text import some
from components.shared.options import parse_options
from serving.runtime.errors import InputError
from serving.runtime.output import check_outputs, write_text

_log = logging.getLogger(__name__)
_Pairs = list[tuple[Image, FoundFaces, Assignment]]


def choose_faces(
    images: Path,
    detections: Sequence[Path],
    output: Path,
    listing: Path,
    report: Path,
    *,
    annotations: Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Write the annotations with the boxes that were found, a listing of what is not sure, and a page.

    Args:
        images: what detect_faces read.
        detections: what detect_faces wrote, a file for each shard.
        output: the COCO file to write.
        listing: the JSON file to write: images that were dropped, and those where the detectors were unsure.
        report: the HTML page to write.
        annotations: the COCO file that the boxes go into; None makes one of all photos, each with one face.
        options: see `config.ChooseOptions`.

    Returns:
        Metrics: `images` and `faces` that are kept; `dropped` images, and `dropped_faces` of all images; `unsure`
        images; and the same by `method/<name>`, `dropped/<reason>` and `unsure/<reason>`.

    Raises:
        InputError: an option is wrong, an output would overwrite an input or another output, images were not searched,
            shards belong to other images, no image is left, or more images than allowed cannot be decoded.
    """
    chosen = parse_options(ChooseOptions, options or {}, "options of choose_faces")
    check_outputs((output, listing, report), images, *detections, *([annotations] if annotations else []))
    record, found = read_detections(detections)
    by_name = {faces.file_name: faces for faces in found}
    pictures, files = find_pictures(images)
    data = read_annotations(annotations) if annotations else _annotations_of(files, by_name)
    check_present(pictures, (image.file_name for image in data.images))
    _check_complete(data.images, by_name)
    names = data.keypoint_names or next((member.points for member in record.members if member.points), ())
    results = _results(data.images, by_name, record, names, chosen)
    kept = [result.image for result in results if result.image is not None]
    if not kept:
        raise InputError(f"no image is left: {_counts(results, 'dropped')}; choose another fallback or other detectors")
    info = _info(data.info, results, kept, record, chosen)
    uses_points = any(face.keypoints for image in kept for face in image.faces)
    metrics = _metrics(results, kept)
    _log.info("%s", _summary(results, metrics, "annotated faces" if annotations else "faces, one of each photo,"))
    page = render_page(results, record, metrics, pictures, chosen)
    write_annotations(Annotations(tuple(kept), info, names if uses_points else data.keypoint_names), output)
    write_text(listing, json.dumps(_listing(results, record, metrics, chosen), ensure_ascii=False, indent=1))
    write_text(report, page)
    return metrics


def _annotations_of(files: Sequence[str], found: Mapping[str, FoundFaces]) -> Annotations:
    """Return annotations of photos that have none, by their sorted names: one face each, its box not known."""
    ordered = [found.get(name, FoundFaces(name)) for name in files]
    images = tuple(
        Image(
            number,
            faces.file_name,
            max(1, faces.width),
            max(1, faces.height),
            (Face(number, None, {}),),
            sha256=faces.sha256,
        )
        for number, faces in enumerate(ordered, start=1)
    )
    return Annotations(images, DatasetInfo(images_digest=images_digest(images)))


def _check_complete(images: Sequence[Image], found: Mapping[str, FoundFaces]) -> None:
    """Raise InputError unless every image was searched, and nothing else."""
    names = {image.file_name for image in images}
    missing, other = sorted(names - set(found)), sorted(set(found) - names)
    for wrong, problem in ((missing, "images were not searched"), (other, "searched images are not in the data")):
        if wrong:
            raise InputError(f"{len(wrong)} {problem}: {some(wrong)}; pass the detections of all shards of this data")
    changed = [i.file_name for i in images if i.sha256 and found[i.file_name].sha256 not in (None, i.sha256)]
    if changed:
        raise InputError(
            f"{len(changed)} images were other pictures when they were searched: {some(changed)}; search them again"
        )


def _results(
    images: Sequence[Image],
    found: Mapping[str, FoundFaces],
    record: ChainRecord,
    points: Sequence[str],
    options: ChooseOptions,
) -> list[Result]:
    """Return the result of every image, in the order of the image ids. Raises InputError when too many have failed."""
    failed = Tally()
    pairs: _Pairs = []
    for image in sorted(images, key=lambda image: image.id):
        faces = found[image.file_name]
        if faces.failed:
            failed.add(faces.failed[0], f"{faces.file_name}: {faces.failed[1]}")
        pairs.append((image, faces, assign(image.faces, faces.plausible, options.choose, options.min_iou)))
    check_failed(failed, options.max_failed)
    fallback = Fallback(options, own_boxes=OWN_BOXES in record.thresholds, found=_alone(pairs))
    first_id = 1 + max((face.id for image in images for face in image.faces), default=0)
    chooser = Chooser(options, record.thresholds, points, fallback, first_id)
    return [chooser.result(*pair) for pair in pairs]


def _alone(pairs: _Pairs) -> Iterator[tuple[Image, Box]]:
    """Yield the images with one face that was found, and its box."""
    for image, _, assignment in pairs:
        match assignment.faces:
            case (face,) if face is not None:
                yield image, face.box


def _counts(results: Sequence[Result], what: str) -> dict[str, int]:
    """Count `dropped` images by their first reason, or images that are kept and `unsure` by every one."""
    counts: Counter[str] = Counter()
    for result in results:
        if (result.image is None) == (what == "dropped"):
            counts.update(result.reasons[:1] if what == "dropped" else result.reasons)
    return dict(sorted(counts.items()))


def _metrics(results: Sequence[Result], kept: Sequence[Image]) -> dict[str, float]:
    methods = Counter(image.detection.method for image in kept if image.detection)
    counts = {
        "images": len(kept),
        "faces": sum(len(image.faces) for image in kept),
        "dropped": len(results) - len(kept),
        "dropped_faces": sum(left_out(results)),
        "unsure": sum(bool(result.reasons) for result in results if result.image is not None),
        "several": sum(len(result.found.plausible) > 1 for result in results),
        "implausible": sum(len(result.found.faces) - len(result.found.plausible) for result in results),
        **{f"method/{name}": count for name, count in sorted(methods.items())},
        **{f"dropped/{reason}": count for reason, count in _counts(results, "dropped").items()},
        **{f"unsure/{reason}": count for reason, count in _counts(results, "unsure").items()},
    }
    return {name: float(count) for name, count in counts.items()}


def _summary(results: Sequence[Result], metrics: Mapping[str, float], noun: str) -> str:
    """Say in a line what was kept and left out; `noun` is what the images had before."""
    before = sum(len(result.before.faces) for result in results)
    with_images, of_others = left_out(results)
    methods, reasons = (
        ", ".join(f"{name} {count:,}" for name, count in counts_of(metrics, prefix).items())
        for prefix in ("method/", "dropped/")
    )
    stayed = before - with_images - of_others
    new = int(metrics["faces"]) - stayed
    kept = (
        f"{stayed:,} of {before:,} {noun} kept{f' and {new:,} others' if new else ''}, in "
        f"{int(metrics['images']):,} of {len(results):,} images ({methods})"
    )
    if not reasons and not of_others:
        return kept
    return (
        f"{kept}; left out: {int(metrics['dropped']):,} images ({reasons or 'none'}) with {with_images:,} faces, and "
        f"{of_others:,} faces of other images; see the listing"
    )


def _info(
    info: DatasetInfo, results: Sequence[Result], kept: Sequence[Image], record: ChainRecord, options: ChooseOptions
) -> DatasetInfo:
    """Return what is recorded about the data set, with what was dropped here."""
    dropped = Tally(dict(info.dropped), dict(info.dropped_examples))
    lost = Tally(dict(info.lost), dict(info.lost_examples))
    for result in results:
        name = result.before.source or result.before.file_name
        if result.image is None:
            dropped.add(result.reasons[0], name)
        if result.dropped:
            lost.add("face_not_found", name, len(result.dropped))
    methods = Counter(image.detection.method for image in kept if image.detection)
    detection = DetectionInfo(
        detectors=tuple(record.thresholds),
        chain_digest=record.sha256,
        options=options.model_dump(mode="json", exclude={"label_space", "per_class"}),
        methods=dict(sorted(methods.items())),
        unsure=_counts(results, "unsure"),
    )
    parts: dict[str, Any] = {"counts": count_images(kept), "detection": detection}
    if dropped.counts:
        parts |= {"dropped": dropped.counts, "dropped_examples": dropped.examples}
    if lost.counts:
        parts |= {"lost": lost.counts, "lost_examples": lost.examples}
    return info.changed(**parts)


def _listing(
    results: Sequence[Result], record: ChainRecord, metrics: Mapping[str, float], options: ChooseOptions
) -> dict[str, Any]:
    """Return the listing: counts, then every image that was dropped or is unsure, in the order of their ids."""
    entries = [_entry(result) for result in results if result.reasons or result.dropped]
    return {
        "counts": {name: int(value) for name, value in metrics.items()},
        "detectors": record.thresholds,
        "options": options.model_dump(mode="json", exclude={"label_space", "per_class"}),
        "unused_rows": record.unused,
        "unused_examples": record.unused_examples,
        "dropped": [entry for entry in entries if entry["dropped"]],
        "unsure": [entry for entry in entries if not entry["dropped"]],
    }


def _entry(result: Result) -> dict[str, Any]:
    implausible = [face for face in result.found.faces if face.implausible]
    entry: dict[str, Any] = {
        "image": result.before.file_name,
        "dropped": result.image is None,
        "reasons": list(result.reasons),
        "method": result.image.detection.method if result.image and result.image.detection else None,
        "found": len(result.found.plausible),
        "implausible": msgspec.to_builtins(implausible),
        "dropped_faces": [{"id": face.id, "box": face.box} for face in result.dropped],
    }
    if result.before.source:
        entry["source"] = result.before.source
    if UNREADABLE in result.reasons:
        entry["message"] = result.found.failed[1]
    return entry
