"""Options of a training on several nodes of a cluster."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from serving.runtime.validation import Frozen

SECRET_KEYS = (
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "MLFLOW_S3_ENDPOINT_URL",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "FACET_PATIENCE_SECONDS",
)
"""Keys of the Secret with the addresses and keys of S3 and MLflow, and how long these are waited for.

Steps and the pods they start read them. In the pods of a TrainJob each is the environment variable of the same name.
"""


def _as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: f"{part:g}" if isinstance(part, int | float) else part for name, part in value.items()}
    return value


class TrainJobSpec(Frozen):
    """A TrainJob of Kubeflow Trainer: `nodes` pods with `processes` processes each, which train one network.

        train_job: {nodes: 2, processes: 4, resources: {cpu: 16, memory: 64Gi, nvidia.com/gpu: 4}}

    `batch_size` is the total of all processes. `resources` are request and limit of each node, by default those of the
    runtime. `runtime` is the name of the training runtime and `runtime_kind` its scope: the cluster or the step's
    namespace. `secret` holds the addresses and keys of S3 and MLflow. `image` defaults to that of the training step.
    """

    nodes: int = Field(default=2, ge=1)
    processes: int = Field(default=1, ge=1)
    runtime: str = Field(default="torch-distributed", min_length=1, max_length=253)
    runtime_kind: Literal["ClusterTrainingRuntime", "TrainingRuntime"] = "ClusterTrainingRuntime"
    resources: Annotated[dict[str, str], BeforeValidator(_as_text)] = Field(default_factory=dict)
    secret: str = Field(default="facet-storage", min_length=1)
    image: str = ""
