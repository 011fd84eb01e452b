"""A cache of what steps wrote, by the digests of what they read: unchanged inputs are not computed again.

It is the folder in the variable `FACET_CACHE`, and off where that is not set. An entry is
`<folder>/<step>/<sha256 of the key>/`, with the files in `files` and their digests in `entry.json`. The entry's
modification time is when it was last used, so the least recently used ones can be removed: any entry, at any time.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from components.shared.dataset.annotations import digest
from serving.runtime.output import whole_folder

VARIABLE = "FACET_CACHE"
"""The environment variable with the cache's folder."""

_FILES, _RECORD = "files", "entry.json"
_log = logging.getLogger(__name__)


def cached_folder(
    step: str, key_parts: Mapping[str, Any], output: Path, make: Callable[[Path], dict[str, Any]]
) -> dict[str, Any]:
    """Fill the folder `output` by `make`, or from the cache when it was filled for the same key before.

    Files are shared with the cache by hard links where its folder is on the same file system, and copied otherwise.
    An entry whose files are not what was put there is removed and made again. Several processes may use one cache.

    Args:
        step: the name of the step.
        key_parts: everything that the result depends on, as JSON: digests of the inputs, the options, the version of
            the code's results, and `library_versions`.
        output: the folder that is written, whole or not at all.
        make: fills the folder that it is given and returns a record of the result, as JSON.

    Returns:
        The record; from the cache the one of the first time.

    Raises:
        InputError: `output` exists and is not empty.
    """
    root = os.environ.get(VARIABLE, "")
    with whole_folder(output) as partial:
        if not root:
            return make(partial)
        entry = Path(root).absolute() / step / _key(key_parts)
        record = _take(entry, partial)
        if record is None:
            record = make(partial)
            _keep(entry, partial, record)
        return record


def library_versions(distributions: Sequence[str]) -> dict[str, str]:
    """Return the installed version of each distribution, empty where it is not installed."""
    versions = {}
    for name in distributions:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = ""
    return versions


def _key(key_parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key_parts, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _take(entry: Path, folder: Path) -> dict[str, Any] | None:
    """Fill the empty `folder` from an entry and return its record; None, with the folder empty, where it cannot be."""
    if not entry.is_dir():
        return None
    try:
        content = json.loads((entry / _RECORD).read_bytes())
        record: dict[str, Any] = content["record"]
        for name, sha256 in content["files"].items():
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ValueError(f"{name} is outside the output")
            _link(entry / _FILES / name, folder / name)
            if digest(folder / name) != sha256:
                raise ValueError(f"{name} is not what was written")
        os.utime(entry)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("%s: this entry of the cache cannot be used and is made again: %s", entry, error)
        shutil.rmtree(entry, ignore_errors=True)
        for rest in folder.iterdir():
            shutil.rmtree(rest) if rest.is_dir() else rest.unlink()
        return None
    _log.info("taken from the cache: %s", entry)
    return record


def _keep(entry: Path, folder: Path, record: Mapping[str, Any]) -> None:
    """Put the files of `folder` into the cache; an entry that another process has put there meanwhile stays."""
    partial = None
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=entry.parent))
        files = {}
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            name = file.relative_to(folder).as_posix()
            _link(file, partial / _FILES / name)
            files[name] = digest(partial / _FILES / name)
        (partial / _RECORD).write_text(json.dumps({"record": record, "files": files}, sort_keys=True))
        partial.chmod(0o755)
        try:
            partial.rename(entry)
        except OSError:
            if not entry.is_dir():  # otherwise another process was faster
                raise
    except OSError as error:
        _log.warning("%s: the result is not kept in the cache: %s", entry, error)
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
