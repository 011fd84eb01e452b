"""The end of a command that fails: one message, and an exit code."""

import errno
import os
import re
import sys
import traceback
from pathlib import Path

from pipelines.environment.errors import ClusterError, ServerError
from pipelines.environment.settings import Settings
from serving.runtime.addresses import masked
from serving.runtime.errors import InputError, NoAnswerError, StorageError

INPUT, SERVER = 2, 1
"""Exit codes: of input, files and storage that cannot be used, and of servers, and of errors of our own."""

_LONG_WORD = re.compile(r"(\S{400})\S+")
_REMEDIES = {
    errno.ENOSPC: "free some space on that disk",
    errno.EFBIG: "have the limit of the size of files raised (ulimit -f)",
    errno.EDQUOT: "free some space, or have your quota raised",
    errno.EROFS: "name a place that can be written",
    errno.EACCES: "change its permissions, or name another place",
    errno.EPERM: "change its permissions, or name another place",
    errno.ENOTDIR: "a part of the path is a file; name a path below a folder",
    errno.EEXIST: "a file is where a folder is expected; remove it, or name another place",
    errno.EISDIR: "a folder is where a file is expected; name a file",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOENT: "check the path",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ELOOP: "a link leads to itself; remove it",
}


def explained(error: Exception) -> tuple[str, int]:
    """Return what is shown of an error, without secrets, and the exit code.

    An error that nobody foresaw is shown with its traceback. A lack of memory, what MLflow answers and the errors of
    the operating system are foreseen here, so that nothing else needs to.
    """
    if isinstance(error, NoAnswerError):
        message, code = str(error), SERVER
    elif isinstance(error, InputError | StorageError):
        message, code = str(error), INPUT
    elif isinstance(error, ServerError | ClusterError):
        message, code = str(error), SERVER
    elif isinstance(error, MemoryError):
        message, code = "there is not enough memory; take a smaller input, or a machine with more", SERVER
    elif isinstance(error, OSError):
        message, code = _of_the_system(error)
    elif _is_of_mlflow(error):
        message, code = f"MLflow in MLFLOW_TRACKING_URI: {' '.join(str(error).split())}", SERVER
    else:
        return masked("".join(traceback.format_exception(error))), SERVER
    return _LONG_WORD.sub(r"\1...", masked(f"facet: {message}")), code


def _is_of_mlflow(error: Exception) -> bool:
    """Tell it without importing MLflow, which takes seconds: where it was not imported, it raised nothing."""
    module = sys.modules.get("mlflow.exceptions")
    return module is not None and isinstance(error, module.MlflowException)


def _of_the_system(error: OSError) -> tuple[str, int]:
    """Name the file, what is wrong and what to do; a connection has no file."""
    file = error.filename2 or error.filename
    if file is None or error.strerror is None:
        return " ".join(str(error).split()) or type(error).__name__, SERVER
    name = os.fsdecode(file) if isinstance(file, str | bytes | os.PathLike) else f"file {file}"
    remedy = _REMEDIES.get(error.errno or 0, "check the path")
    return f"{name}: {error.strerror}: {remedy}{_origin(Path(name))}", INPUT


def _origin(file: Path) -> str:
    """Which variable names the folder of a file; "" for none."""
    settings = Settings.from_environment(os.environ)
    for variable, folder in (("FACET_HOME", settings.home), ("SM_MODEL_DIR", settings.runs)):
        if file.absolute().is_relative_to(folder.absolute()):
            return f" (it is in {variable}, {folder})"
    return ""
