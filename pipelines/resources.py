"""What the tasks get on a cluster: CPU, memory, GPUs, credentials, retries, places. All of it is here.

None of it matters in a local run, which uses the machine as it is. What differs from run to run is a parameter of the
pipeline: the name of the Secret and the number of GPUs. What differs from cluster to cluster is a `Site`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from kfp import dsl, kubernetes
from kfp.dsl import pipeline_channel
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.shared.secret import SECRET_KEYS
from serving.runtime.errors import InputError

LABELS = {"app.kubernetes.io/name": "facet", "app.kubernetes.io/part-of": "facet"}
"""Labels of every step's pod."""

STEP_LABEL = "app.kubernetes.io/component"
"""Label that names the step, as the pipeline's tasks are named."""

HOUR = 3600

Cpu = Annotated[str, Field(pattern=r"^\d+(\.\d+|m)?$", coerce_numbers_to_str=True)]
Memory = Annotated[str, Field(pattern=r"^\d+([EPTGMK]i?)?$", coerce_numbers_to_str=True)]


class Toleration(BaseModel):
    """A taint that a pod puts up with, in Kubernetes' words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = ""
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


class Resources(BaseModel):
    """What one task gets, in Kubernetes' notation; pairs are request and limit.

    `shared_memory` is the size of /dev/shm: PyTorch's loader processes hand over batches there, and the default of
    64 MB ends them with a bus error. `gpu` is the resource name of the GPUs, whose number is a parameter of the run.
    `storage` adds the Secret. `retries` is for tasks that may run twice. `timeout` is in seconds for one attempt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: tuple[Cpu, Cpu]
    memory: tuple[Memory, Memory]
    shared_memory: Memory | Literal[""] = ""
    gpu: str = ""
    storage: bool = False
    retries: int = Field(default=2, ge=0)
    timeout: int = Field(default=4 * HOUR, gt=0)
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()


TASKS = {
    "ingest": Resources(cpu=("1", "4"), memory=("1Gi", "4Gi"), storage=True, timeout=48 * HOUR),
    "curate": Resources(cpu=("500m", "1"), memory=("512Mi", "4Gi"), storage=True),
    "split": Resources(cpu=("500m", "1"), memory=("512Mi", "4Gi"), storage=True),
    "data_report": Resources(cpu=("500m", "2"), memory=("512Mi", "4Gi")),
    "train": Resources(
        cpu=("2", "8"),
        memory=("4Gi", "16Gi"),
        shared_memory="2Gi",
        gpu="nvidia.com/gpu",
        storage=True,
        timeout=7 * 24 * HOUR,
        # Nodes with GPUs are usually tainted so that nothing else goes there.
        tolerations=(Toleration(key="nvidia.com/gpu"),),
    ),
    "export": Resources(cpu=("1", "2"), memory=("2Gi", "8Gi")),
    "predict": Resources(cpu=("1", "4"), memory=("1Gi", "4Gi"), timeout=48 * HOUR),
    "evaluate": Resources(cpu=("500m", "1"), memory=("1Gi", "4Gi"), storage=True),
    # Registering twice would make two versions.
    "register": Resources(cpu=("500m", "1"), memory=("1Gi", "4Gi"), storage=True, retries=0, timeout=HOUR),
    "promote": Resources(cpu=("250m", "1"), memory=("512Mi", "2Gi"), storage=True, timeout=HOUR),
}


class Site(BaseModel):
    """What one cluster wants differently; the default is what the committed IR holds.

    Attributes:
        image_pull_secrets: Secrets with which the steps' images are pulled.
        labels: Further labels of every pod.
        tasks: By name of a task in `TASKS`: the fields of `Resources` that differ.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_pull_secrets: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    tasks: dict[str, dict[str, Any]] = {}

    def resources(self, kind: str) -> Resources:
        """What tasks of that kind get here."""
        return Resources.model_validate({**TASKS[kind].model_dump(), **self.tasks.get(kind, {})})


def read_site(file: Path) -> Site:
    """Reads a site from YAML.

    Raises:
        InputError: one line for every problem, with the file and the path in it.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"FACET_RESOURCES: {file} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: is not YAML: {' '.join(str(error).split())}") from error
    try:
        site = Site.model_validate({} if content is None else content)
    except ValidationError as error:
        raise InputError(_lines(error, str(file), ())) from error
    problems = []
    for kind in site.tasks:
        if kind not in TASKS:
            problems.append(f"{file}: tasks.{kind}: unknown task; known: {', '.join(TASKS)}")
            continue
        try:
            site.resources(kind)
        except ValidationError as error:
            problems.append(_lines(error, str(file), ("tasks", kind)))
    if problems:
        raise InputError("\n".join(problems))
    return site


def _lines(error: ValidationError, file: str, prefix: tuple[str, ...]) -> str:
    return "\n".join(
        f"{file}: {'.'.join(str(part) for part in (*prefix, *item['loc'])) or 'content'}"
        f" = {item['input']!r}: {item['msg']}"
        for item in error.errors()
    )


def equip(
    task: dsl.PipelineTask, kind: str, title: str, *, site: Site, gpus: Any, storage_secret: Any
) -> dsl.PipelineTask:
    """Gives a task its title in the UI and what the site says about its kind; returns the task.

    Args:
        task: the task.
        kind: its name in `TASKS`.
        title: what the UI shows.
        site: the cluster's resources.
        gpus: number of GPUs, for tasks that can use them. The pipeline's parameter: text, because the driver of
            KFP 2.17 takes a number for no value at all, and then asks for no GPU.
        storage_secret: name of the Secret, for tasks that need it. The pipeline's parameter.
    """
    wanted = site.resources(kind)
    task.set_display_name(title)
    task.set_cpu_request(wanted.cpu[0]).set_cpu_limit(wanted.cpu[1])
    task.set_memory_request(wanted.memory[0]).set_memory_limit(wanted.memory[1])
    if wanted.gpu:
        task.set_accelerator_type(wanted.gpu).set_accelerator_limit(gpus)
        if isinstance(gpus, pipeline_channel.PipelineChannel):
            # The compiler overlooks that a task in a loop needs this parameter inside the loop.
            task.channel_inputs.append(gpus)
    if wanted.shared_memory:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=wanted.shared_memory)
    if wanted.storage:
        # Optional: without it the step itself says what is missing, instead of a pod that never starts.
        kubernetes.use_secret_as_env(task, storage_secret, {key: key for key in SECRET_KEYS}, optional=True)
    if wanted.retries:
        task.set_retry(wanted.retries, backoff_duration="30s", backoff_factor=2.0)
    kubernetes.set_timeout(task, wanted.timeout)
    for toleration in wanted.tolerations:
        kubernetes.add_toleration(task, **{name: value for name, value in toleration if value})
    for key, value in wanted.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    if site.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(site.image_pull_secrets))
    for key, value in {**LABELS, **site.labels, STEP_LABEL: task.name}.items():
        kubernetes.add_pod_label(task, key, value)
    return task
