"""The HTML page of choose_faces, rendered from report.html.jinja."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from components.detect_faces.config import METHODS, OWN_BOXES, ChooseOptions
from components.detect_faces.detections import ChainRecord
from components.detect_faces.result import REASONS, UNREADABLE, Result, left_out
from components.shared.dataset.annotations import Box, Face, Image
from components.shared.dataset.face_classes import FaceClasses
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.pictures import Pictures
from components.shared.report.rendering import printable, render
from components.shared.report.thumbnails import FRAME, Thumbnail, Thumbnails

ORIGINAL, NOT_FOUND, GUESSED, OTHER, IMPLAUSIBLE = "#3f8cff", "#ff4fd8", "#ff8a00", "#d0d0d0", "#ff3b30"
LEGEND = (
    (FRAME, "the face's box"),
    (ORIGINAL, "the box that it had before"),
    (NOT_FOUND, "annotated, not found"),
    (GUESSED, "a box of the fallback"),
    (OTHER, "found and not used"),
    (IMPLAUSIBLE, "not plausible"),
)
"""Colors of boxes and what they mean."""

_PER_REASON = 60
_UNSURE_BYTES, _EXAMPLE_BYTES = 3_000_000, 4_000_000
_SIDE = 200


def render_page(
    results: Sequence[Result],
    record: ChainRecord,
    metrics: Mapping[str, float],
    pictures: Pictures,
    options: ChooseOptions,
) -> str:
    """Return the HTML page; equal arguments give equal text. Its pictures take at most some megabytes.

    Args:
        results: of all images, in the order of their ids.
        record: the chain that searched.
        metrics: those of `choose_faces`.
        pictures: the photos.
        options: those of `choose_faces`.
    """
    unsure = Thumbnails(pictures, _UNSURE_BYTES, _SIDE)
    examples = Thumbnails(pictures, _EXAMPLE_BYTES, _SIDE)
    by_reason: dict[str, list[Result]] = {reason: [] for reason in REASONS}
    for result in results:
        if result.reasons:
            by_reason[result.reasons[0]].append(result)
    return render(
        "detect_faces/report.html.jinja",
        total=len(results),
        metrics=metrics,
        faces_with_images=left_out(results)[0],
        record=record,
        options=options,
        legend=LEGEND,
        reasons=REASONS,
        methods=counts_of(metrics, "method/"),
        dropped=counts_of(metrics, "dropped/"),
        unsure=counts_of(metrics, "unsure/"),
        implausible=_implausible(results),
        found=Counter(min(len(result.found.plausible), _MANY) for result in results),
        many=_MANY,
        unsure_photos=[
            (reason, len(several), _photos(reason, several[:_PER_REASON], unsure))
            for reason, several in by_reason.items()
            if several
        ],
        example_photos=[
            (name, len(several), [_photo(result, examples) for result in several[: options.per_class]])
            for name, several in _classes(results, options.label_space)
        ],
        failed=unsure.failed + examples.failed,
    )


_MANY = 10


def counts_of(metrics: Mapping[str, float], prefix: str) -> dict[str, int]:
    """Return the counts whose names begin with a prefix, without it, the largest first."""
    counts = {name.removeprefix(prefix): int(value) for name, value in metrics.items() if name.startswith(prefix)}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _implausible(results: Sequence[Result]) -> dict[str, int]:
    counts = Counter(face.implausible for result in results for face in result.found.faces if face.implausible)
    return dict(counts.most_common())


def _classes(results: Sequence[Result], space: str) -> list[tuple[str, list[Result]]]:
    """Return the kept images of every class that has some; without a label space all of them under no name."""
    kept = [(result, result.image) for result in results if result.image is not None]
    if not space:
        return [("", [result for result, _ in kept])]
    classes = FaceClasses(label_space(space))
    members: dict[int, list[Result]] = {}
    for result, image in kept:
        for index in dict.fromkeys(classes.of_image(image)):
            members.setdefault(index, []).append(result)
    labels = label_space(space).class_labels
    return [(labels[index], members[index]) for index in sorted(members)]


def _photos(reason: str, results: Sequence[Result], thumbnails: Thumbnails) -> list[Thumbnail]:
    """Return the photos; of those that cannot be decoded only their names and messages."""
    if reason == UNREADABLE:
        return [Thumbnail(None, result.before.file_name, list(result.found.failed[1:])) for result in results]
    return [_photo(result, thumbnails) for result in results]


def _photo(result: Result, thumbnails: Thumbnails) -> Thumbnail:
    image = result.image or result.before
    lines = [printable(image.file_name, 40), "dropped" if result.image is None else _method(result.image)]
    if result.reasons[1:]:
        lines.append(" ".join(result.reasons[1:]))
    found = result.found
    shown = replace(image, width=found.width or image.width, height=found.height or image.height)
    return Thumbnail(thumbnails.whole(shown, marks(result)), printable(image.file_name, 120), lines)


def _method(image: Image) -> str:
    scores = [f"{face.score:.2f}" for face in image.faces if face.score is not None]
    shown = " ".join(scores[:3]) + (" …" if len(scores) > 3 else "")
    return f"{image.detection.method if image.detection else ''} {shown}".strip()


def marks(result: Result) -> list[tuple[Box, str]]:
    """Return the boxes to draw on the picture of a result with their colors, the most important last."""
    faces = result.image.faces if result.image else ()
    used = {face.box for face in faces}
    drawn = [(face.box, IMPLAUSIBLE if face.implausible else OTHER) for face in result.found.faces]
    drawn = [(box, color) for box, color in drawn if box not in used and min(box[2:]) > 0]
    annotated = [(face.original_box, ORIGINAL) for face in faces] + [(face.box, NOT_FOUND) for face in result.dropped]
    drawn += [(box, color) for box, color in annotated if box is not None]
    return drawn + [(face.box, _color(result, face)) for face in faces if face.box is not None]


def _color(result: Result, face: Face) -> str:
    method = result.image.detection.method if result.image and result.image.detection else ""
    return GUESSED if method in METHODS and method != OWN_BOXES and face.score is None else FRAME
