"""A table of boxes that another program found."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from components.shared.dataset.annotations import Box, Image
from components.shared.dataset.paths import PathResolver
from components.shared.dataset.table import read_table
from components.shared.dataset.tally import Tally
from serving.runtime.errors import InputError

CORNERS = ("s_X", "s_Y", "e_X", "e_Y")
"""The columns of left, top, right and bottom, beside `path`."""

Boxes = dict[str, list[Box]]


def read_box_table(path: str) -> Boxes:
    """Read the boxes of every written path: x, y, width, height; a width or height may be 0 or less.

    A row whose corners are all empty says that its picture has no face.

    Raises:
        NotFoundError: there is no such table.
        InputError: a column is missing, or a corner is no number; the message names the row.
    """
    boxes: Boxes = defaultdict(list)
    for row in read_table(path, {}, ("path", *CORNERS)):
        cells = [row.cells[corner] for corner in CORNERS]
        written = boxes[row.cells["path"]]
        if not any(cells):
            continue
        try:
            left, top, right, bottom = map(float, cells)
        except ValueError as error:
            raise InputError(
                f"{path}: row {row.line}: expected numbers in {', '.join(CORNERS)}, got {', '.join(cells)}"
            ) from error
        written.append((left, top, right - left, bottom - top))
    return dict(boxes)


def boxes_of_images(table: Path, images: Sequence[Image]) -> tuple[Boxes, Tally]:
    """Return the boxes of a table by file name of the image, and a tally of the rows whose path names no image.

    A path names an image by its name in the raw data or in the archive, see `PathResolver`.
    """
    by_name = {image.source or image.file_name: image.file_name for image in images}
    by_name |= {image.file_name: image.file_name for image in images if image.file_name not in by_name}
    resolver = PathResolver(by_name)
    found: Boxes = defaultdict(list)
    unused = Tally()
    for written, boxes in read_box_table(str(table)).items():
        name = resolver.resolve(written)
        if name is None:
            unused.add(resolver.reason(written), written, max(1, len(boxes)))
        else:
            found[by_name[name]] += boxes
    return dict(found), unused
