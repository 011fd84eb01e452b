"""The folder in which a training grows, from its first epoch until it becomes the output.

It lies beside the output, and outlives a process that is killed: the same training, started again with the same output,
goes on in it. Its name holds the digest of configuration and data, so that another training does not find it. A copy of
the checkpoints at another place, `state`, lets the training go on elsewhere: after a cluster lost the machine, or for
another output.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from components.train_classifier.config.objective import Metric
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.storage import Location, download, s3_client, upload

log = logging.getLogger(__name__)

LAST = "last.pt"
BEST: dict[str, Metric | None] = {"best": None, "best_f1": "f1", "best_acc": "acc"}
"""The checkpoints of best epochs, and by what they are chosen; None: by the criterion of the configuration."""

PREDICTIONS, CLASSES = "predictions.png", "classes.txt"
_OF_EPOCHS = (*(f"{name}.pt" for name in BEST), PREDICTIONS, CLASSES, LAST)

_LOCK = ".lock"


class Unfinished:
    """`folder` is where everything is written. LAST is written after all else of an epoch: it makes the epoch count."""

    def __init__(self, folder: Path, state: str) -> None:
        self.folder = folder
        self._state = Location(state) if state else None

    @property
    def begun(self) -> bool:
        """True when there is a finished epoch to go on from."""
        return (self.folder / LAST).is_file()

    def fetch(self) -> None:
        """Take the checkpoints from `state`, where there are any."""
        if self._state is not None and self._state.join(LAST).exists():
            fetch(self._state.uri, self.folder)

    def keep(self, names: Iterable[str]) -> None:
        """Copy the checkpoints called `names`, and then LAST, to `state`."""
        if self._state is not None:
            for name in (*names, LAST):
                upload(self.folder / name, self._state.join(name).uri)

    def forget(self) -> None:
        """Remove what is in `state`; LAST first, so that a half of it is not taken for a whole."""
        if self._state is None:
            return
        for name in reversed(_OF_EPOCHS):
            if self._state.bucket:
                s3_client().delete_object(Bucket=self._state.bucket, Key=f"{self._state.key}/{name}")
            else:
                (self._state.folder / name).unlink(missing_ok=True)


@contextmanager
def unfinished(output: Path, digest: str, state: str) -> Iterator[Unfinished]:
    """Give the folder of the training `digest`, which becomes `output` when the block ends.

    When the block raises, the folder stays if an epoch was finished, and vanishes otherwise. `state` is a folder or
    `s3://` prefix, or "".

    Raises:
        InputError: `output` is there and not empty, or another process trains the same there.
        StorageError: `state` cannot be read or written.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output}: already exists and is not empty; remove it or name another output folder")
    folder = output.with_name(f".{output.name}.{digest[:16]}.unfinished")
    folder.mkdir(parents=True, exist_ok=True)
    work = Unfinished(folder, f"{state.rstrip('/')}/{digest[:16]}" if state else "")
    with (folder / _LOCK).open("w") as lock:
        _lock(lock, output)
        try:
            if not work.begun:
                work.fetch()
            yield work
            for left_over in folder.glob(".*"):
                shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
            folder.replace(output)
        except BaseException:
            if work.begun:
                log.warning("the finished epochs are kept in %s: the same training goes on from there", folder)
            else:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        work.forget()


def _lock(lock: TextIO, output: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise InputError(f"{output}: another process is training this at the moment") from error


def fetch(address: str, folder: Path) -> None:
    """Copy the checkpoints of a training into `folder`; `address` is their folder, `s3://` prefix, or its LAST.

    Raises:
        NotFoundError: there is no LAST.
        StorageError: it cannot be read.
    """
    base = address.rstrip("/").removesuffix(f"/{LAST}")
    if not Location(base).join(LAST).exists():
        raise NotFoundError(f"{address}: there is no {LAST} of a training there")
    with TemporaryDirectory(dir=folder, prefix=".fetched-") as temporary:
        for name in _OF_EPOCHS:
            source = Location(base).join(name)
            if source.exists():
                download(source.uri, Path(temporary))
                (Path(temporary) / name).replace(folder / name)


def link(source: Path, target: Path) -> None:
    """Give a file a second name in one move, without a copy where the file system can."""
    temporary = target.with_name(f".{target.name}.partial")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    temporary.replace(target)
