"""Resources of the tasks on a cluster: CPU, memory, GPUs, credentials, retries, time limits, nodes.

A local run ignores them. What differs from run to run is a parameter of the pipeline: the name of the Secret and the
number of GPUs. What differs from cluster to cluster is a `Site`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from kfp import dsl, kubernetes
from kfp.dsl import pipeline_channel
from pydantic import Field

from components.shared.options import read_yaml
from components.shared.tracking.server import OWN_SERVER
from components.shared.training.train_job_config import SECRET_KEYS
from pipelines.catalog import STEPS
from serving.runtime.errors import InputError
from serving.runtime.validation import Frozen, Problem, known, problems_of

LABELS = {"app.kubernetes.io/name": "facet", "app.kubernetes.io/part-of": "facet"}
"""Labels of every step's pod."""

STEP_LABEL = "app.kubernetes.io/component"
"""Label that names the step, as the pipeline's tasks are named."""

HOUR = 3600

_RETRY_WAIT = 30
"""Seconds before the first retry; before each further one twice as many as before the last."""

Cpu = Annotated[str, Field(pattern=r"^\d+(\.\d+|m)?$", coerce_numbers_to_str=True)]
Memory = Annotated[str, Field(pattern=r"^\d+([EPTGMK]i?)?$", coerce_numbers_to_str=True)]


class Toleration(Frozen):
    """A toleration of a pod, with Kubernetes' fields."""

    key: str = ""
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


class Resources(Frozen):
    """Resources of one task, in Kubernetes' notation; pairs are request and limit.

    `shared_memory` is the size of /dev/shm: PyTorch's loader processes pass batches through it, and with the default
    of 64 MB they end with a bus error. `gpu` is the resource name of the GPUs, whose number is a parameter of the run.
    `storage` adds the Secret. `timeout` is in seconds, per attempt. Every task may run twice, whatever `retries` says:
    a cluster may retry by itself.
    """

    cpu: tuple[Cpu, Cpu]
    memory: tuple[Memory, Memory]
    shared_memory: Memory | Literal[""] = ""
    gpu: str = ""
    storage: bool = False
    retries: int = Field(default=2, ge=0)
    timeout: int = Field(default=4 * HOUR, gt=0)
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()

    @property
    def retry_period(self) -> int:
        """Seconds from the first start within which Argo retries, and at whose end it stops a running attempt.

        Long enough for every attempt to take its time limit, after an hour of waiting for a node. KFP's default is an
        hour in all.
        """
        return (self.retries + 1) * (self.timeout + HOUR) + _RETRY_WAIT * ((1 << self.retries) - 1)


TASKS = {
    "ingest": Resources(cpu=("1", "4"), memory=("1Gi", "4Gi"), storage=True, timeout=48 * HOUR),
    "curate": Resources(cpu=("500m", "1"), memory=("512Mi", "4Gi"), storage=True),
    "split": Resources(cpu=("500m", "1"), memory=("512Mi", "4Gi"), storage=True),
    "data_report": Resources(cpu=("500m", "2"), memory=("512Mi", "4Gi")),
    # Of 12 megapixels, doubled once: 0.35 GB and 13 s for each thread.
    "landmarks": Resources(cpu=("1", "4"), memory=("2Gi", "8Gi"), storage=True, timeout=48 * HOUR),
    "train": Resources(
        cpu=("2", "8"),
        memory=("4Gi", "16Gi"),
        shared_memory="2Gi",
        gpu="nvidia.com/gpu",
        storage=True,
        timeout=7 * 24 * HOUR,
        # Nodes with GPUs are usually tainted, so that no other pods are scheduled there.
        tolerations=(Toleration(key="nvidia.com/gpu"),),
    ),
    "export": Resources(cpu=("1", "2"), memory=("2Gi", "8Gi")),
    "predict": Resources(cpu=("1", "4"), memory=("1Gi", "4Gi"), timeout=48 * HOUR),
    "predict_shard": Resources(cpu=("1", "4"), memory=("1Gi", "4Gi"), storage=True, timeout=48 * HOUR),
    "quantize": Resources(cpu=("1", "4"), memory=("2Gi", "8Gi")),
    # What the network looked at in its mistakes takes hundreds of runs of it.
    "evaluate": Resources(cpu=("1", "4"), memory=("1Gi", "4Gi"), storage=True),
    "register": Resources(cpu=("500m", "1"), memory=("1Gi", "4Gi"), storage=True, timeout=HOUR),
    # It predicts the test faces with the champion.
    "promote": Resources(cpu=("1", "4"), memory=("1Gi", "4Gi"), storage=True, timeout=48 * HOUR),
}


class Site(Frozen):
    """Settings of one cluster; the default is that of the committed IR.

    Attributes:
        image_pull_secrets: Secrets with which the steps' images are pulled.
        labels: Further labels of every pod.
        tasks: By name of a task in `TASKS`: the fields of `Resources` that differ.
    """

    image_pull_secrets: tuple[str, ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def resources(self, kind: str) -> Resources:
        """The resources of an entry of `TASKS` at this site."""
        return Resources.model_validate({**TASKS[kind].model_dump(), **self.tasks.get(kind, {})})


def read_site(file: Path) -> Site:
    """Read a site from YAML.

    Raises:
        InputError: one line for every problem, with the file and the path in it.
    """
    content = read_yaml(file, f"FACET_RESOURCES: {file}")
    content = {} if content is None else content
    problems = list(problems_of(Site, content)) or list(_task_problems(Site.model_validate(content)))
    if problems:
        raise InputError("\n".join(f"{file}: {problem}" for problem in problems))
    return Site.model_validate(content)


def _task_problems(site: Site) -> Iterator[Problem]:
    for kind, changes in site.tasks.items():
        path = ("tasks", kind)
        if kind in TASKS:
            yield from problems_of(Resources, {**TASKS[kind].model_dump(), **changes}, path=path)
        else:
            yield Problem(path, changes, f"unknown task{known(kind, TASKS)}")


def configure(task: dsl.PipelineTask, title: str, *, site: Site, gpus: Any, storage_secret: Any) -> dsl.PipelineTask:
    """Sets a task's title in the UI and the resources that its step gets at the site; returns the task.

    Args:
        task: the task, of one of the steps in `catalog.STEPS`.
        title: the title.
        site: the cluster's resources.
        gpus: number of GPUs, for tasks that can use them. The pipeline's parameter: text, because the driver of
            KFP 2.17 ignores a number, and then requests no GPU.
        storage_secret: name of the Secret, for tasks that need it. The pipeline's parameter.
    """
    step = STEPS[task.component_spec.name.replace("-", "_")]
    resources = site.resources(step.resources)
    task.set_display_name(title)
    task.set_cpu_request(resources.cpu[0]).set_cpu_limit(resources.cpu[1])
    task.set_memory_request(resources.memory[0]).set_memory_limit(resources.memory[1])
    if resources.gpu:
        task.set_accelerator_type(resources.gpu).set_accelerator_limit(gpus)
        if isinstance(gpus, pipeline_channel.PipelineChannel):
            # KFP's compiler does not pass this parameter into a loop by itself.
            task.channel_inputs.append(gpus)
    if resources.shared_memory:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=resources.shared_memory)
    if resources.storage:
        # Optional: without it the step starts and reports what is missing, instead of a pod that never starts.
        variables = {key: OWN_SERVER.get(key, key) for key in SECRET_KEYS}
        kubernetes.use_secret_as_env(task, storage_secret, variables, optional=True)
    if resources.retries:
        task.set_retry(
            resources.retries,
            backoff_duration=f"{_RETRY_WAIT}s",
            backoff_factor=2.0,
            backoff_max_duration=f"{resources.retry_period}s",
        )
    kubernetes.set_timeout(task, resources.timeout)
    for toleration in resources.tolerations:
        kubernetes.add_toleration(task, **{name: value for name, value in toleration if value})
    for key, value in resources.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    if site.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(site.image_pull_secrets))
    for key, value in {**LABELS, **site.labels, STEP_LABEL: task.name}.items():
        kubernetes.add_pod_label(task, key, value)
    return task
