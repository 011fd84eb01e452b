"""What the step writes beside the annotations: a table of points, drawn faces, and which pictures need a look."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TextIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.landmarks.faces import FaceLandmarks
from components.landmarks.options import Mode
from components.shared.drawing import draw_circles, heatmap
from serving.runtime.errors import InputError

BLUE, WHITE = (0, 0, 255), 255
_NUMBERED = re.compile(r"(.*)_\d+", re.DOTALL)


class PointTable:
    """Writes a CSV with a row per face: path, face_index, x, y, width, height of its box, then x0, y0, x1, ..."""

    def __init__(self, file: TextIO, points: int) -> None:
        self._writer = csv.writer(file, lineterminator="\n")
        columns = [f"{axis}{number}" for number in range(points) for axis in "xy"]
        self._writer.writerow(["path", "face_index", "x", "y", "width", "height", *columns])

    def add(self, path: str, faces: Sequence[FaceLandmarks]) -> None:
        """Append the faces of one picture."""
        for index, face in enumerate(faces):
            self._writer.writerow([path, index, *face.box, *face.points.ravel().tolist()])


def png_names(names: Iterable[str]) -> dict[str, str]:
    """Return, by name of a picture, the name of its drawings without `.png`: its path and stem.

    A name whose stem another picture has too, or could get for its second face, keeps its extension: of `a.jpg`,
    `a.png` and `a_1.jpg` none takes the drawing of another.

    Raises:
        InputError: a name leads out of its folder, or two drawings would have the same name all the same.
    """
    names = list(names)
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
            raise InputError(f"{name!r} leads out of the folder of the pictures; rename it")
    stems = Counter(_stem(name) for name in names)
    drawn = {}
    for name in names:
        stem = _stem(name)
        numbered = _NUMBERED.fullmatch(stem)
        drawn[name] = name if stems[stem] > 1 or (numbered and numbered[1] in stems) else stem
    twice = [name for name, count in Counter(drawn.values()).items() if count > 1]
    if twice:
        raise InputError(f"two pictures would be drawn as '{twice[0]}.png'; rename one of them")
    return drawn


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def draw_faces(
    folder: Path,
    name: str,
    pixels: NDArray[np.uint8],
    gray: NDArray[np.uint8],
    faces: Sequence[FaceLandmarks],
    modes: Sequence[Mode],
) -> None:
    """Draw each face by itself as `folder`/<mode>/<name>.png; further ones end in `_1`, `_2`, ... before `.png`.

    `color` is the photo with blue circles, `gray` its gray version, of one channel, with white ones, `heatmap` the
    points without the photo. PNG, because a JPEG blurs the circles.
    """
    for mode in modes:
        for index, face in enumerate(faces):
            if mode == "heatmap":
                drawn = Image.fromarray(heatmap(face.points, *gray.shape))
            elif mode == "color":
                drawn = draw_circles(Image.fromarray(pixels), face.points, BLUE)
            else:
                drawn = draw_circles(Image.fromarray(gray), face.points, WHITE)
            file = folder / mode / f"{name}{f'_{index}' if index else ''}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            drawn.save(file, "PNG", compress_level=1)
