"""A run of a pipeline on this machine: servers, sample data, KFP in a process of its own, upload of the artifacts."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
import yaml

from components.shared.cache import VARIABLE as CACHE
from components.shared.variables import VARIABLES
from pipelines.catalog import PIPELINES
from pipelines.environment.settings import Settings
from pipelines.intermediate import compile_pipeline, images
from pipelines.local.cache import cache_folder
from pipelines.local.kfp_docker import check_images, own_folder, remove_containers
from pipelines.local.kfp_log import KfpLog
from pipelines.local.mlflow_page import describe_run
from pipelines.local.one_copy import link_equal
from pipelines.local.processes import stop_group
from pipelines.local.run_folder import (
    BUCKET,
    CONFIG,
    LOG,
    check_run_folder,
    end,
    flatten,
    in_use,
    make_run_folder,
    outputs,
    run_address,
    upload_artifacts,
)
from pipelines.local.stack import Stack, environment, local_stack, mlflow_address
from pipelines.local.supervisor import interruptible
from pipelines.parameters.addresses import Address, check_addresses, is_registered
from pipelines.parameters.batch_prediction import TABLE_TASK, BatchPredictionConfig
from pipelines.parameters.detector import DetectorParameters
from pipelines.parameters.faces import FaceParameters
from pipelines.parameters.model import TrainingParameters
from pipelines.parameters.pipeline import PipelineConfig
from pipelines.parameters.training import missing_packages
from pipelines.samples.put import SAMPLES, put_sample
from serving.runtime.addresses import masked
from serving.runtime.errors import InputError, StorageError
from serving.runtime.registry import sign_in
from serving.runtime.storage import Location, is_s3

RUNNERS = ("subprocess", "docker")


@dataclass(frozen=True, slots=True)
class Run:
    """The result of a local run: `failed` is the failed step and `error` its exception, both empty on success.

    `address` is the S3 prefix of its artifacts, `mlflow_run` the page of its MLflow run, `detector_run` that of the
    detector that was trained before a classifier; each may be empty.
    """

    folder: Path
    address: str
    mlflow_run: str
    failed: str
    error: str
    seconds: dict[str, float]
    detector_run: str = ""


def run(
    config: PipelineConfig,
    settings: Settings,
    *,
    name: str = "classification",
    upload_after: bool = True,
    runner: str = "subprocess",
    echo: Callable[[str], None] = print,
) -> Run:
    """Runs the config's pipeline with one of KFP's local runners, on a local S3 and MLflow or the user's own.

    Args:
        config: the pipeline and its parameters.
        settings: the folders of the servers' data and of the runs.
        name: name of the run folder; a number is appended when it is in use.
        upload_after: whether the artifacts are copied to `s3://pipelines/<run>` after the run, even a failed one.
        runner: `subprocess`, every step a process of this Python, or `docker`, every step a container of its image.
        echo: receives every line for the user.

    Raises:
        InputError: the name is not one of a folder, the runner is unknown, its images are missing, the training needs
            a cluster, or what the config names is not there.
        ServerError, StorageError: the local servers, S3, MLflow or the container engine cannot be used.
        KeyboardInterrupt: Ctrl-C, SIGTERM, SIGQUIT or SIGHUP, after the step and the servers were stopped.
    """
    check_run_folder(settings.runs, name)
    served = _check(config, runner, echo)
    _sign_in()
    defaults = {**VARIABLES, CACHE: str(cache_folder(settings.home))}
    variables = {name: os.environ.get(name, value) for name, value in defaults.items()}
    with interruptible(), local_stack(settings.home) as stack, environment(stack.environment | variables):
        if any(is_registered(one.value) for one in served):
            mlflow_address(settings.home, stack)  # waits for it
        check_addresses(served, on_cluster=False, echo=echo)
        folder = make_run_folder(settings.runs, name, _in_s3 if upload_after else lambda _: False)
        with in_use(folder):
            return _run(config, folder, stack, settings, upload_after, runner, echo)


def _run(
    config: PipelineConfig,
    folder: Path,
    stack: Stack,
    settings: Settings,
    upload_after: bool,
    runner: str,
    echo: Callable[[str], None],
) -> Run:
    started = time.time()
    (folder / CONFIG).write_text(yaml.safe_dump(config.model_dump(), sort_keys=False))
    echo(f"run     {folder}")
    if runner == "docker":
        own_folder(folder)
    for line in stack.lines():
        echo(line)
    pages = PIPELINES[config.pipeline].pages
    if isinstance(config, BatchPredictionConfig):
        pages[TABLE_TASK] = config.table_name
    try:
        log = _execute(config, folder.resolve(), runner, echo)
    except KeyboardInterrupt:
        flatten(folder, pages)
        echo(f"\nstopped; the outputs so far are in {folder} (log: {folder / LOG})")
        raise
    flatten(folder, pages)
    address = _upload(folder, echo) if upload_after else ""
    pipeline = PIPELINES[config.pipeline]
    page, detector_page = (
        describe_run(str(outputs(folder, task).get("run_id", "")) if task else "", folder, address)
        for task in (pipeline.mlflow_task, pipeline.detector_task)
    )
    if stack.s3:  # rclone replaces a file that is written anew, so it may be one of ours
        s3 = settings.home / "s3"
        link_equal([folder, s3 / BUCKET / folder.name, s3 / "mlflow"], since=started)
    end(folder, succeeded=not log.failed)
    return Run(folder, address, page, log.failed, log.error, log.done, detector_page)


def check(config: PipelineConfig, settings: Settings, *, echo: Callable[[str], None] = print) -> None:
    """Checks what `run` checks before it starts a step, and raises as it does."""
    _sign_in()
    served = _check(config, "subprocess", echo)
    if in_s3 := [one for one in served if is_s3(one.value)]:
        # S3 alone: a server of MLflow that is named is not started.
        named = {**os.environ, "MLFLOW_TRACKING_URI": "http://127.0.0.1"}
        with local_stack(settings.home, named) as stack, environment(stack.environment):
            check_addresses(in_s3, on_cluster=False, echo=echo)


def _sign_in() -> None:
    """Raises StorageError when a server that the environment names cannot be used."""
    if os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http"):
        sign_in()
    if os.environ.get("AWS_ENDPOINT_URL"):
        Location(f"s3://{BUCKET}").exists()


def _check(config: PipelineConfig, runner: str, echo: Callable[[str], None]) -> list[Address]:
    """Refuses what this machine or the runner cannot do; returns the addresses in S3 and MLflow, which may be down."""
    if runner not in RUNNERS:
        raise InputError(f"runner '{runner}': unknown; known: {', '.join(RUNNERS)}")
    if isinstance(config, TrainingParameters):
        if config.training.get("train_job") is not None:
            raise InputError(
                "training.train_job trains on the nodes of a cluster: leave it out on this machine, or submit the run "
                "to a cluster"
            )
        if runner == "subprocess" and (missing := missing_packages(config.train_config)):
            raise InputError(f"{', '.join(missing)}: there is no such package in this Python; install it in .venv")
    if isinstance(config, FaceParameters) and runner == "subprocess" and config.uses_dlib and not find_spec("dlib"):
        raise InputError("faces.detectors has a detector of dlib, not installed here; run make setup")
    if isinstance(config, DetectorParameters) and runner == "subprocess" and not find_spec("ultralytics"):
        raise InputError(f"the pipeline {config.pipeline} trains with ultralytics, not installed here; run make setup")
    if runner == "docker":
        check_images(images(compile_pipeline(config.pipeline)))
    addresses = list(config.addresses())
    served = [one for one in addresses if is_s3(one.value) or is_registered(one.value)]
    check_addresses([one for one in addresses if one not in served], on_cluster=False, echo=echo)
    return served


def _execute(config: PipelineConfig, folder: Path, runner: str, echo: Callable[[str], None]) -> KfpLog:
    """Runs KFP in a process group of its own, and draws the sample data while that process imports KFP."""
    worker = psutil.Popen(
        [sys.executable, "-u", "-m", "pipelines.local.worker", config.pipeline, str(folder), runner],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert worker.stdin and worker.stdout
    log = KfpLog(str(folder))
    try:
        if config.source in SAMPLES:
            put_sample(config.source, echo=echo)
        with contextlib.suppress(BrokenPipeError):
            worker.stdin.write(json.dumps(config.arguments()) + "\n")
            worker.stdin.flush()
        with (folder / LOG).open("w") as file:
            for raw in worker.stdout:
                line = masked(raw)
                file.write(line)
                file.flush()
                for text in log.feed(line):
                    echo(text)
        if worker.wait() and not log.failed:
            log.failed, log.error = "the pipeline", log.last or "no error message"
        return log
    finally:
        if worker.returncode is None:
            # On SIGINT a training step marks its MLflow run as killed.
            stop_group(worker, first=signal.SIGINT)
            worker.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)  # the step of a worker that was killed
        if runner == "docker":
            remove_containers(folder)


def _upload(folder: Path, echo: Callable[[str], None]) -> str:
    try:
        return upload_artifacts(folder)
    except StorageError as error:
        echo(f"the artifacts are not in S3: {error}")
        return ""


def _in_s3(name: str) -> bool:
    try:
        return Location(run_address(name)).exists()
    except StorageError:
        return False
