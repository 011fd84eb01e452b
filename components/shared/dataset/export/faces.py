"""Cuts every face out of its photo into a folder for each class, for a trainer of classifiers."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from components.shared.dataset.annotations import Box, Face, named_points
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.export.choice import Choice, Remarks
from components.shared.dataset.export.files import ascii_names, by_split, class_folders, write_file
from components.shared.dataset.export.readable import png_of
from components.shared.progress import progress
from serving.runtime.errors import InputError
from serving.runtime.image.header import Pixels
from serving.runtime.machine import usable_cpus
from serving.runtime.ordered_map import ordered_map

Cut = Callable[[bytes, Box | None, dict[str, tuple[float, float]]], Pixels]
"""From a photo's file, the box of a face (None: the whole picture) and its points by name, both in upright pixels, to
what a network sees of it: RGB, uint8 (h, w, 3)."""

_AHEAD = 4


def write_face_tree(
    folder: Path,
    choices: Iterable[Choice],
    archive: ImageArchive,
    labels: Sequence[str],
    cut: Cut,
    remarks: Remarks,
    *,
    keypoint_names: Sequence[str] = (),
) -> dict[str, dict[str, int]]:
    """Write every face with a class as a PNG; return the number of faces by split and label.

    A face is in `images/<split>/<number>_<label>`, numbered in the order of the labels from `00` on, as trainers number
    the classes by the order of the folders. A split with faces has a folder for every class, with or without faces.
    Faces without a class and images without faces are left out and counted.

    Args:
        folder: where to write.
        choices: the images and the classes of their faces.
        archive: their files.
        labels: the labels of the classes, in order.
        cut: makes the picture of a face; it is called by several threads.
        remarks: gets what is left out.
        keypoint_names: the names of the keypoints of all faces.

    Raises:
        OtherPictureError: the archive has another picture of that name.
        InputError: a face cannot be cut out; the error names its image.
        OSError: a file cannot be written; the error names it.
    """
    chosen = _with_classes(choices, remarks)
    folders = [f"{index:02d}_{name}" for index, name in enumerate(class_folders(labels))]
    stems = {key: name.partition(".")[0] for key, name in ascii_names((c.image for c in chosen), archive).items()}
    counts = {split: dict.fromkeys(labels, 0) for split in by_split(chosen)}
    for split in counts:
        for name in folders:
            (folder / "images" / split / name).mkdir(parents=True)

    def write(choice: Choice) -> None:
        image = choice.image
        data = archive.read(image.file_name, image.sha256)
        for number, (face, index) in enumerate(choice.faces, start=1):
            assert index is not None
            try:
                pixels = cut(data, face.box, named_points(face, keypoint_names))
            except InputError as error:
                raise InputError(f"{archive.folder}: '{image.file_name}', face {face.id}: {error}") from error
            path = folder / "images" / choice.split / folders[index] / f"{stems[image.id]}_{number}.png"
            write_file(path, png_of(pixels))

    workers = usable_cpus()
    for choice, _ in ordered_map(write, progress(chosen, "faces"), workers=workers, ahead=_AHEAD * workers):
        for _, index in choice.faces:
            assert index is not None
            counts[choice.split][labels[index]] += 1
    return counts


def _with_classes(choices: Iterable[Choice], remarks: Remarks) -> list[Choice]:
    """Return the images with their faces that have a class; the others are left out and counted."""
    kept = []
    for choice in choices:
        faces = tuple[tuple[Face, int | None], ...](pair for pair in choice.faces if pair[1] is not None)
        if not choice.faces:
            remarks.left_out.add("no_face", choice.image.file_name)
        elif missing := len(choice.faces) - len(faces):
            remarks.left_out.add("unlabeled_face", choice.image.file_name, missing)
        if faces:
            kept.append(Choice(choice.image, choice.split, faces))
    return kept
