"""The folder in which a training writes its epochs, until it is complete and becomes the output.

It lies beside the output, and survives a process that is killed: the same training, started again with the same output,
continues in it. Its name contains the digest of configuration and data, so that another training does not use it. A
copy of the checkpoints elsewhere, `state`, lets the training continue on another machine or for another output.
"""

import fcntl
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from components.shared.dataset.text import some
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.output import full_disk_named, whole_file
from serving.runtime.storage import Location, download, upload

log = logging.getLogger(__name__)

LAST = "last.pt"
"""The checkpoint from which a training continues."""

SCRATCH = ".scratch"
"""The folder in it of what is only needed while the training runs, such as unpacked photos."""

_LOCK = ".lock"
_NAME = re.compile(r"\..+\.[0-9a-f]{16}\.unfinished")


def last_checkpoint(address: str) -> Location:
    """Return where LAST of a training is; `address` is the folder or `s3://` prefix of its files, or LAST itself."""
    return Location(address.rstrip("/").removesuffix(f"/{LAST}")).join(LAST)


class ResumableFolder:
    """`path` is where everything is written. LAST is written after all else of an epoch: it completes the epoch."""

    def __init__(self, path: Path, state: str, files: Sequence[str]) -> None:
        """Keep the files of an epoch, LAST and those called `files`, in `state` too, unless that is ""."""
        self.path = path
        self._state = Location(state) if state else None
        self._files = files

    @property
    def started(self) -> bool:
        """True when an epoch is complete."""
        return (self.path / LAST).is_file()

    def fetch_state(self) -> None:
        """Copy the files of `state` into the folder, where there are any."""
        if self._state is not None and self._state.join(LAST).exists():
            self.fetch(self._state.uri)

    def fetch(self, address: str) -> None:
        """Copy the files of a training into the folder; `address` is their folder, `s3://` prefix, or its LAST.

        Raises:
            NotFoundError: there is no LAST.
            StorageError: it cannot be read.
        """
        last = last_checkpoint(address)
        if not last.exists():
            raise NotFoundError(f"{address}: there is no {LAST} of a training there")
        base = Location(last.uri.removesuffix(f"/{LAST}"))
        with TemporaryDirectory(dir=self.path, prefix=".fetched-") as temporary:
            for name in (*self._files, LAST):
                source = base.join(name)
                if source.exists():
                    download(source.uri, Path(temporary))
                    (Path(temporary) / name).replace(self.path / name)

    def keep(self, names: Iterable[str]) -> None:
        """Copy the files called `names`, and then LAST, to `state`."""
        if self._state is not None:
            for name in (*names, LAST):
                upload(self.path / name, self._state.join(name).uri)

    def forget(self) -> None:
        """Remove the files in `state`; LAST first, so that the remaining ones are not mistaken for a whole."""
        if self._state is None:
            return
        for name in (LAST, *self._files):
            self._state.delete(name)


@contextmanager
def resumable_folder(output: Path, digest: str, state: str, files: Sequence[str]) -> Iterator[ResumableFolder]:
    """Give the folder of the training `digest`, which becomes `output` when the block ends.

    When the block raises, the folder stays if an epoch is complete, and is removed otherwise.

    Args:
        output: the folder that results.
        digest: of everything that the training depends on.
        state: a folder or `s3://` prefix for copies of the epochs, or "".
        files: names of the files of an epoch, without LAST.

    Raises:
        InputError: `output` exists and is not empty, or another process trains the same there.
        StorageError: `state` cannot be read or written, or the disk is full.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output}: already exists and is not empty; remove it or name another output folder")
    path = output.with_name(f".{output.name}.{digest[:16]}.unfinished")
    with full_disk_named(path.parent):
        path.mkdir(parents=True, exist_ok=True)
    folder = ResumableFolder(path, f"{state.rstrip('/')}/{digest[:16]}" if state else "", files)
    with (path / _LOCK).open("w") as lock:
        _lock(lock, output)
        try:
            with full_disk_named(path):
                if not folder.started:
                    folder.fetch_state()
                yield folder
            for leftover in path.glob(".*"):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            path.replace(output)
        except BaseException:
            if folder.started:
                log.warning("the complete epochs are kept in %s: the same training continues from there", path)
            else:
                shutil.rmtree(path, ignore_errors=True)
            raise
        folder.forget()


def tidy_abandoned(folder: Path) -> None:
    """Rid the unfinished trainings beside `folder`, one itself, of what those that were killed do not need.

    Where an epoch is complete, SCRATCH is removed, and one line is logged; everything is otherwise. A training that
    is running has its lock, and is left alone.
    """
    kept = []
    for path in sorted(folder.parent.iterdir()):
        if path == folder or not _NAME.fullmatch(path.name) or not (path / _LOCK).is_file():
            continue
        with (path / _LOCK).open() as lock, suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            started = (path / LAST).is_file()
            shutil.rmtree(path / SCRATCH if started else path, ignore_errors=True)
            kept += [path.name] if started else []
    if kept:
        log.info(
            "other unfinished trainings stay in %s: %s; the same options and output continue one, remove what is not "
            "needed", folder.parent, some(kept),
        )  # fmt: skip


def _lock(lock: TextIO, output: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise InputError(f"{output}: another process is training this at the moment") from error


def link(source: Path, target: Path) -> None:
    """Give a file a second name in one move, without a copy where the file system can."""
    with whole_file(target) as partial:
        partial.unlink(missing_ok=True)
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)
