"""The folder of a local run: `<name>`, `<name>1`, `<name>2`, ... with a folder for every task and its artifacts.

Each item of a loop has a folder for its tasks, such as `fold=2`.
"""

import contextlib
import fcntl
import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from pipelines.catalog import PIPELINES, STEPS, Pipeline
from pipelines.local.kfp_loops import task_folders, without_numbers
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.storage import make_bucket, upload
from serving.runtime.validation import known, shortened

OUTPUTS = "executor_output.json"
LOG = "log.txt"
CONFIG = "config.yaml"
PAGES = {name.replace("_", "-"): step.page for name, step in STEPS.items() if step.page}
"""File names of the reports by task; a browser shows a file without a suffix as text."""
BUCKET = "pipelines"
_END = "facet: the run has "
_LONGEST = 100
"""Letters of a name; S3, MLflow and KFP add to it."""


def check_run_folder(root: Path, name: str) -> None:
    """Raise InputError when the name is not a plain folder name, or `root` is a file."""
    if not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{_LONGEST - 1}}}", name):
        raise InputError(
            f"name '{shortened(name)}': use letters, digits, '.', '_' and '-', a letter or digit first, "
            f"{_LONGEST} at most"
        )
    if root.exists() and not root.is_dir():
        raise InputError(f"{root}: is a file, and the folders of runs are made there; set SM_MODEL_DIR to a folder")


def make_run_folder(root: Path, name: str, taken: Callable[[str], bool] = lambda _: False) -> Path:
    """Make the first folder of the series that does not exist and whose name is not `taken` elsewhere.

    Raises InputError as `check_run_folder`.
    """
    check_run_folder(root, name)
    root.mkdir(parents=True, exist_ok=True)
    for number in itertools.count():
        folder = root / f"{name}{number or ''}"
        if folder.exists() or taken(folder.name):
            continue
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("unreachable")


def flatten(folder: Path, pages: Mapping[str, str] = MappingProxyType({})) -> None:
    """Move the tasks from KFP's `<pipeline>-<time>` folder into the run's folder, reports and tables beside them.

    Partial outputs of a killed step are removed. `pages` are file names of reports by task where those of their steps
    do not fit, and those of tables.
    """
    names = {**PAGES, **pages}
    for inner in [path for path in folder.iterdir() if path.is_dir()]:
        for task in list(task_folders(inner)):
            for partial in task.glob(".*.partial"):
                shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
            moved = folder / without_numbers(task.relative_to(inner).as_posix())
            moved.parent.mkdir(parents=True, exist_ok=True)
            task.rename(moved)
            outputs = moved / OUTPUTS
            if outputs.exists():
                outputs.write_text(outputs.read_text().replace(f"{task}/", f"{moved}/"))
            for artifact in ("report", "table"):
                if task.name in names and (moved / artifact).exists():
                    (moved.parent / names[task.name]).hardlink_to(moved / artifact)
        shutil.rmtree(inner)


def find_run(name: str, runs: Path) -> Path:
    """Return the folder of a run, by its name in `runs` or by its path.

    Raises NotFoundError where neither holds the config of a run, with the name of the run that may be meant.
    """
    for folder in (runs / name, Path(name)):
        if (folder / CONFIG).is_file():
            return folder
    here = sorted(path.parent.name for path in runs.glob(f"*/{CONFIG}"))
    raise NotFoundError(
        f"'{name}' is neither a run in {runs.absolute()} nor a run folder with {CONFIG}"
        f"{known(name, here) if here else ''}"
    )


def read_settings(file: Path) -> dict[str, Any]:
    """Read the settings of a run or of a training, YAML or JSON. Raises InputError when they cannot be read."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{file}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: expected the settings of a run")
    return content


def pipeline_of(folder: Path) -> Pipeline:
    """Return the pipeline of a run. Raises InputError when its config cannot be read or names none."""
    name = str(read_settings(folder / CONFIG).get("pipeline", ""))
    if name not in PIPELINES:
        raise InputError(f"{folder / CONFIG}: unknown pipeline '{name}'")
    return PIPELINES[name]


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Marks the folder as that of a run that is running, until the block or this process ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def end(folder: Path, *, succeeded: bool) -> None:
    """Write the outcome of a run as the last line of its log."""
    with (folder / LOG).open("a") as log:
        log.write(f"{_END}{'succeeded' if succeeded else 'failed'}\n")


def state(folder: Path) -> str:
    """Whether the run of a folder is `running`, or has `succeeded`, `failed` or `stopped` before its end.

    Of runs of versions that wrote no outcome, those whose model was registered have succeeded.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "running"
    finally:
        os.close(descriptor)
    log = folder / LOG
    last = log.read_text(errors="replace").rpartition(_END)[2].strip() if log.exists() else ""
    if last in ("succeeded", "failed"):
        return last
    return "succeeded" if outputs(folder, "register") else "stopped"


class _Artifact(BaseModel):
    metadata: dict[str, Any] = Field(default_factory=dict)


class _Artifacts(BaseModel):
    artifacts: list[_Artifact] = Field(default_factory=list)


class _Outputs(BaseModel):
    parameterValues: dict[str, Any] = Field(default_factory=dict)  # noqa: N815
    artifacts: dict[str, _Artifacts] = Field(default_factory=dict)


def outputs(folder: Path, task: str) -> dict[str, Any]:
    """The output parameters of a task, such as `evaluate` or `fold=2/evaluate`; empty when it did not run or failed."""
    return _read(folder, task).parameterValues


def scalars(folder: Path, task: str) -> dict[str, float]:
    """The scalars that a task wrote as its output `metrics`; empty when it did not run or failed."""
    found = _read(folder, task).artifacts.get("metrics", _Artifacts()).artifacts
    return dict(found[0].metadata) if found else {}


def _read(folder: Path, task: str) -> _Outputs:
    path = folder / task / OUTPUTS
    if not path.exists():
        return _Outputs()
    try:
        return _Outputs.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(f"{path}: damaged, expected what the step returned; run again, or remove {folder}") from error


def artifacts(folder: Path) -> Iterator[Path]:
    """The files and folders that tasks have written, in order."""
    for task in task_folders(folder):
        yield from sorted(path for path in task.iterdir() if path.name != OUTPUTS)


def upload_artifacts(folder: Path) -> str:
    """Copy the artifacts to `s3://pipelines/<run>/<task>/<output>`, with the config; returns the address of the run.

    Raises:
        StorageError: when S3 cannot be written.
    """
    make_bucket(BUCKET)
    address = run_address(folder.name)
    for artifact in (folder / CONFIG, *artifacts(folder)):
        upload(artifact, f"{address}/{artifact.relative_to(folder).as_posix()}")
    return address


def run_address(name: str) -> str:
    """The address of that run's artifacts in S3."""
    return f"s3://{BUCKET}/{name}"
