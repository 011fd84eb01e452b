"""Inputs of a training that lie in S3: downloaded once for all processes of a node."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.runtime.output import whole_folder
from serving.runtime.storage import Location, download, is_s3


@contextmanager
def node_folder() -> Iterator[Path]:
    """Give a folder that all processes of `torch.distributed.run` on this node share, until the block ends.

    The first of them removes it.
    """
    distributed = "LOCAL_RANK" in os.environ
    folder = Path(tempfile.gettempdir(), f"facet-node-{os.getppid() if distributed else os.getpid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        yield folder
    finally:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            shutil.rmtree(folder, ignore_errors=True)


def local_copy(address: str, folder: Path) -> Path:
    """Return the path of a file or folder; an `s3://` address is first downloaded into `folder`, a node's.

    Raises StorageError when it cannot be read.
    """
    if not is_s3(address):
        return Path(address)
    target = folder / hashlib.sha256(address.encode()).hexdigest()[:16]
    source = Location(address)
    with (folder / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with whole_folder(target) as partial:
                single = source.list()[0].path == ""
                download(address, partial if single else partial / source.name)
    return target / source.name
