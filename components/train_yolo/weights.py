"""Weights files of ultralytics: where they come from, whether they may be read, and what they can be a start for.

A .pt is a pickle: reading one without restrictions runs what is in it. Here it is read with an allow-list of classes,
unless the caller says that it is trusted.
"""

from pathlib import Path


def fetch_weights(address: str, folder: Path, *, trust: bool = False, download: bool = False) -> Path:
    """Return the path of a local .pt that is a checkpoint of ultralytics for detect, pose or classify.

    Args:
        address: a path or `s3://` address, or the plain name of a file that ultralytics publishes.
        folder: where a file that is not local is put.
        trust: read the pickle without an allow-list of classes; needed for `s3://`.
        download: let a plain name without such a file be downloaded.

    Raises:
        InputError: the file may not be read, is no checkpoint, or one of another task.
        NotFoundError: there is none.
        StorageError: it cannot be read.
    """
    raise NotImplementedError
