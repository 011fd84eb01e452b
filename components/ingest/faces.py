"""Faces as a source states them, brought to the upright pixels of the decoded image."""

from dataclasses import replace

from components.ingest.formats.listing import BoxOptions, Listing, Options, Record
from components.shared.dataset.annotations import Box, Face, Keypoint
from components.shared.dataset.boxes import upright_box, upright_keypoint
from serving.runtime.image.header import Header
from serving.runtime.plausible import clip_box, inside_share

# Sums of fractions may miss an edge by this much.
_SAME_PIXELS = 1e-6


def fitted_faces(record: Record, header: Header, options: Options, listing: Listing) -> tuple[Face, ...]:
    """Return the faces of a record in upright pixels, with their boxes clipped to the image.

    A record that states another size of the same aspect was made for a resized copy: its boxes are scaled, and noted.
    Lost, and counted in `listing.lost`, are a box of a picture with another aspect (`size_differs`), one with less than
    `options.min_inside` of its area in the image (`box_outside`), and a face of which no annotator has a box in the
    image (`no_valid_box`), unless `options.no_box` keeps it as the whole image.
    """
    frame = _frame(record.size, header)
    if frame is None and any(face.box or face.keypoints for face in record.faces):
        stated = "x".join(map(str, reversed(record.size or ())))
        example = f"{record.path} (stated {stated}, is {header.width}x{header.height})"
        listing.lost.add("size_differs", example, len(record.faces))
        return ()
    frame = frame or header.upright
    if record.size not in (None, frame):
        listing.notes.add("size_differs" if record.normalized else "boxes_scaled", record.path)
    height, width = record.size or frame
    scale = frame[1] / width, frame[0] / height
    in_stored = options.box_frame == "stored" or (options.box_frame == "auto" and frame != header.upright)
    if record.normalized:
        height, width = (header.height, header.width) if in_stored else header.upright
        scale = width, height
    fitted = []
    for face in _candidate_faces(record, scale, header, in_stored, options, listing):
        if face.box is None:
            fitted.append(face)
            continue
        box, beyond = clip_box(face.box, *header.upright)
        if box is None or inside_share(face.box, *header.upright) < options.min_inside:
            listing.lost.add("box_outside", record.path)
            continue
        if beyond > _SAME_PIXELS:
            listing.notes.add("box_clipped", record.path)
        fitted.append(replace(face, box=box))
    return tuple(fitted)


def _candidate_faces(
    record: Record, scale: tuple[float, float], header: Header, in_stored: bool, options: Options, listing: Listing
) -> list[Face]:
    """Return the faces of a record in upright pixels, not clipped, with the annotators' boxes merged."""

    def upright(box: Box) -> Box:
        x, y, width, height = box
        box = (x * scale[0], y * scale[1], width * scale[0], height * scale[1])
        return upright_box(box, header) if in_stored else box

    def upright_point(point: Keypoint) -> Keypoint:
        point = Keypoint(point.x * scale[0], point.y * scale[1], point.visibility)
        return upright_keypoint(point, header) if in_stored else point

    if not record.candidates:
        return [
            replace(
                face,
                box=face.box and upright(face.box),
                keypoints=face.keypoints and tuple(map(upright_point, face.keypoints)),
            )
            if face.box or face.keypoints
            else face
            for face in record.faces
        ]
    (face,) = record.faces
    boxes = [
        next((box for box in map(upright, choice) if inside_share(box, *header.upright) >= options.min_inside), None)
        for choice in record.candidates
    ]
    usable = [box for box in boxes if box is not None]
    if len(usable) < len(boxes):
        listing.notes.add("annotator_box_outside", record.path, len(boxes) - len(usable))
    if usable:
        return [replace(face, box=listing.merge(usable))]
    if isinstance(options, BoxOptions) and options.no_box == "keep":
        listing.notes.add("no_valid_box", record.path)
        return [face]
    listing.lost.add("no_valid_box", record.path)
    return []


def _frame(size: tuple[int, int] | None, header: Header) -> tuple[int, int] | None:
    """Return the (height, width) of the upright or the stored pixels, whichever a stated size is a resized copy of.

    Upright pixels when no size is stated, None when the aspect is another.
    """
    frames = (header.upright, (header.height, header.width))
    if size is None or size in frames:
        return size or header.upright
    return next((frame for frame in frames if _same_aspect(size, frame)), None)


def _same_aspect(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether one (height, width) is the other resized, each side rounded to whole pixels."""
    small, large = sorted((first, second))
    return all(abs(small[one] * large[other] / large[one] - small[other]) <= 1 for one, other in ((0, 1), (1, 0)))
