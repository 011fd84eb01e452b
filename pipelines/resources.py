"""What the tasks get on a cluster: CPU, memory, shared memory, credentials, retries. All of it is here.

None of it matters in a local run, which uses the machine as it is.
"""

from dataclasses import dataclass

from kfp import dsl, kubernetes

SECRET = "facet-storage"
"""The Kubernetes Secret in the pipelines' namespace with the addresses and credentials of S3 and MLflow."""

SECRET_KEYS = (
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "MLFLOW_S3_ENDPOINT_URL",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
)
"""Keys of the Secret; each becomes the environment variable of the same name."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Requests and limits of one task in Kubernetes' notation.

    `shared_memory` is the size of /dev/shm: PyTorch's loader processes hand over batches there, and the default of
    64 MB ends them with a bus error. `storage` adds the Secret. `retries` is for tasks that may run twice.
    """

    cpu: tuple[str, str]
    memory: tuple[str, str]
    shared_memory: str = ""
    storage: bool = False
    retries: int = 2


TASKS = {
    "ingest": Resources(cpu=("1", "4"), memory=("1Gi", "4Gi"), storage=True),
    "curate": Resources(cpu=("500m", "1"), memory=("512Mi", "4Gi"), storage=True),
    "split": Resources(cpu=("500m", "1"), memory=("512Mi", "4Gi"), storage=True),
    "data_report": Resources(cpu=("500m", "2"), memory=("512Mi", "4Gi")),
    "train": Resources(cpu=("2", "8"), memory=("4Gi", "16Gi"), shared_memory="2Gi", storage=True),
    "export": Resources(cpu=("1", "2"), memory=("2Gi", "8Gi")),
    "predict": Resources(cpu=("1", "4"), memory=("1Gi", "4Gi")),
    "evaluate": Resources(cpu=("500m", "1"), memory=("1Gi", "4Gi"), storage=True),
    # Registering twice would make two versions.
    "register": Resources(cpu=("500m", "1"), memory=("1Gi", "4Gi"), storage=True, retries=0),
    "promote": Resources(cpu=("250m", "1"), memory=("512Mi", "2Gi"), storage=True),
}


def equip(task: dsl.PipelineTask, kind: str, title: str) -> dsl.PipelineTask:
    """Gives a task its title in the UI and what `TASKS[kind]` says; returns the task."""
    wanted = TASKS[kind]
    task.set_display_name(title)
    task.set_cpu_request(wanted.cpu[0]).set_cpu_limit(wanted.cpu[1])
    task.set_memory_request(wanted.memory[0]).set_memory_limit(wanted.memory[1])
    if wanted.shared_memory:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=wanted.shared_memory)
    if wanted.storage:
        # Optional: without it the step itself says what is missing, instead of a pod that never starts.
        kubernetes.use_secret_as_env(task, SECRET, {key: key for key in SECRET_KEYS}, optional=True)
    if wanted.retries:
        task.set_retry(wanted.retries, backoff_duration="30s", backoff_factor=2.0)
    return task
