"""Trees with a folder for each class: `images/<split>/<class>/<name>`."""

from collections.abc import Iterable
from pathlib import Path

from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.export.choice import Choice, Remarks
from components.shared.dataset.export.files import by_split, write_images
from components.shared.dataset.export.names import ascii_names, class_folders
from components.shared.dataset.label_spaces import LabelSpace


def write_class_tree(
    folder: Path, chosen: Iterable[Choice], archive: ImageArchive, space: LabelSpace, remarks: Remarks
) -> dict[str, str]:
    """Write the images and return their paths below the folder by their names in the archive.

    A split with images has a folder for every class, with or without images: loaders number the folders.
    """
    chosen = list(chosen)
    folders = class_folders(space.class_labels)
    names = ascii_names((choice.image for choice in chosen), archive)
    paths = {}
    for choice in chosen:
        assert choice.category is not None
        path = f"images/{choice.split}/{folders[choice.category]}/{names[choice.image.id]}"
        paths[choice.image.file_name] = path
    for split, members in by_split(chosen).items():
        used = {choice.category for choice in members}
        for index, name in enumerate(folders):
            (folder / "images" / split / name).mkdir(parents=True)
            if index not in used:
                remarks.notes.add("class_without_images", f"{split}/{space.class_labels[index]}")
    write_images(folder, archive, paths)
    return paths
