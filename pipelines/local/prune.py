"""The runs on this machine: their size, age and state, and the removal of those that nobody needs."""

import json
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import psutil
import yaml

from pipelines.catalog import PIPELINES
from pipelines.environment.errors import ServerError
from pipelines.environment.settings import Settings
from pipelines.local.one_copy import disk_bytes
from pipelines.local.run_folder import BUCKET, CONFIG, LOG, outputs, run_address, state
from pipelines.local.stack import environment, local_stack, mlflow_address
from serving.runtime.errors import InputError
from serving.runtime.storage import Location

_UNITS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}


@dataclass(frozen=True, slots=True)
class LocalRun:
    """A run folder.

    `state` is running, succeeded, failed or stopped, `changed` is when it wrote last, and `bytes` are those of the
    folder with its copy in the local S3.
    """

    folder: Path
    state: str
    changed: float
    bytes: int

    def line(self, now: float) -> str:
        """What `facet runs list` shows."""
        age = (now - self.changed) / 86_400
        return f"{self.bytes / 2**20:>9.1f} MB  {age:>5.1f} days  {self.state:<9}  {self.folder.name}"


def local_runs(settings: Settings) -> list[LocalRun]:
    """The runs of this machine, the newest first."""
    if not settings.runs.is_dir():
        return []
    folders = [path for path in settings.runs.iterdir() if (path / CONFIG).is_file()]
    runs = [_read(folder, settings.home / "s3" / BUCKET / folder.name) for folder in folders]
    return sorted(runs, key=lambda run: -run.changed)


def chosen(
    runs: Sequence[LocalRun], *, older_than: str = "", keep_last: int | None = None, states: Sequence[str] = ()
) -> list[LocalRun]:
    """The runs that meet all conditions; never one that is running.

    Args:
        runs: the newest first.
        older_than: a number and a unit, `h`, `d` or `w`: not changed for that long.
        keep_last: so many of the newest stay.
        states: succeeded, failed or stopped; any when there is none.

    Raises:
        InputError: there is no condition, or one is invalid.
    """
    if not older_than and keep_last is None and not states:
        raise InputError("say which runs: --older-than 30d, --keep-last 5 or --state failed; several must all hold")
    match = re.fullmatch(r"(\d+)([hdw])", older_than or "0h")
    if not match:
        raise InputError(f"--older-than '{older_than}': expected a number and a unit such as 12h, 30d or 4w")
    if unknown := set(states) - {"succeeded", "failed", "stopped"}:
        raise InputError(f"--state '{unknown.pop()}': unknown; known: succeeded, failed, stopped")
    before = time.time() - int(match[1]) * _UNITS[match[2]]
    return [
        run
        for run in runs[keep_last or 0 :]
        if run.state != "running" and run.changed <= before and (not states or run.state in states)
    ]


def prune(runs: Sequence[LocalRun], settings: Settings, *, yes: bool, echo: Callable[[str], None] = print) -> int:
    """Removes runs with their copies in S3, but none whose model is served or has an alias; returns how many.

    What MLflow has of a run stays: its metrics, its best checkpoints and registered models.

    Args:
        runs: which.
        settings: the folders of the runs and servers.
        yes: False only says what would be removed.
        echo: receives a line for every run.

    Raises:
        ServerError, StorageError: MLflow cannot say which models have an alias, or S3 cannot be used.
    """
    served = [argument for process in psutil.process_iter(["cmdline"]) for argument in process.info["cmdline"] or ()]
    removed = 0
    with local_stack(settings.home) as stack, environment(stack.environment):
        for run in runs:
            reason = _served(run.folder, served) or _aliases(run.folder, lambda: mlflow_address(settings.home, stack))
            if reason:
                echo(f"kept          {run.folder.name}: {reason}")
                continue
            echo(f"{'removed' if yes else 'would remove'}  {run.line(time.time()).strip()}")
            if yes:
                _remove(run.folder)
            removed += 1
    return removed


def _read(folder: Path, copy: Path) -> LocalRun:
    changed = max((file.stat().st_mtime for file in (folder / CONFIG, folder / LOG) if file.exists()), default=0.0)
    return LocalRun(folder, state(folder), changed, disk_bytes([folder, copy]))


def _served(folder: Path, arguments: Sequence[str]) -> str:
    places = (f"{folder.resolve()}/", f"{run_address(folder.name)}/", f"{folder}/")
    return "its model is served" if any(place in f"{argument}/" for argument in arguments for place in places) else ""


def _aliases(folder: Path, ready: Callable[[], str]) -> str:
    """Which aliases the versions have that a run registered, in words; "" for none."""
    values = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    versions = []
    for model in PIPELINES[values["pipeline"]].models:
        registered = outputs(folder, model.task("register"))
        if version := registered.get("version"):
            versions.append((model.title(values), version))
        if version := registered.get("composite_version"):
            versions.append((values["composite"], version))
    found = [_aliases_of(name, version, ready) for name, version in versions]
    return next(filter(None, found), "")


def _aliases_of(name: str, version: str, ready: Callable[[], str]) -> str:
    query = f"{ready()}/api/2.0/mlflow/model-versions/get?{urlencode({'name': name, 'version': version})}"
    try:
        with urllib.request.urlopen(query, timeout=30) as answer:
            aliases = json.load(answer)["model_version"].get("aliases", [])
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return ""
        raise ServerError(f"MLflow does not say whether version {version} of '{name}' has an alias: {error}") from error
    except (OSError, ValueError) as error:
        raise ServerError(f"MLflow does not say whether version {version} of '{name}' has an alias: {error}") from error
    return f"its model is {name}@{', @'.join(aliases)}" if aliases else ""


def _remove(folder: Path) -> None:
    """First the copy: a folder that is left can be removed again."""
    copy = Location(run_address(folder.name))
    for entry in copy.list() if copy.exists() else []:
        copy.delete(entry.path)
    shutil.rmtree(folder)
