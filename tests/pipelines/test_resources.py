"""Resources of the tasks on a cluster, read from the compiled IR, and the file with the settings of a site."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.shared.tracking.server import OWN_SERVER
from components.shared.training.train_job_config import SECRET_KEYS
from pipelines.intermediate import compile_pipeline, read_documents
from pipelines.resources import TASKS, Resources, Site, read_site
from serving.runtime.errors import InputError

SITE = """
image_pull_secrets: [registry, mirror]
labels: {team: vision}
tasks:
  train:
    cpu: [4, 16]
    memory: [16Gi, 64Gi]
    shared_memory: 8Gi
    gpu: nvidia.com/mig-1g.10gb
    retries: 5
    timeout: 3600
    node_selector: {pool: gpu}
    tolerations:
      - {key: nvidia.com/gpu, effect: NoSchedule}
      - {key: team, operator: Equal, value: vision}
  predict: {memory: [2Gi, 8Gi]}
"""
NAMES = {
    "ingest": "ingest",
    "curate": "curate",
    "split": "split",
    "data_report": "data-report",
    "landmarks": "landmarks",
    "train": "train-classifier",
    "export": "export-onnx",
    "predict": "predict",
    "predict_shard": "predict-shard",
    "quantize": "quantize",
    "evaluate": "evaluate",
    "register": "register",
    "promote": "promote",
}
"""Names of the tasks' executors, by the names in `TASKS`."""


class Compiled:
    """The IR of pipelines that have every task between them, by task; `spec` is that of classification_faces."""

    def __init__(self, site: Site) -> None:
        self._documents = [
            read_documents(compile_pipeline(name, site))
            for name in ("classification_faces", "face_landmarks", "batch_prediction")
        ]
        self.spec = self._documents[0][0]

    def _of(self, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The first specification with this task, and its platform's executors."""
        name = f"exec-{NAMES.get(kind, kind)}"
        spec, platform = next(both for both in self._documents if name in both[0]["deploymentSpec"]["executors"])
        return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    def container(self, kind: str) -> dict[str, Any]:
        executors = self._of(kind)[0]["deploymentSpec"]["executors"]
        found: dict[str, Any] = executors[f"exec-{NAMES[kind]}"]["container"]
        return found

    def kubernetes(self, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = self._of(kind)[1][f"exec-{NAMES.get(kind, kind)}"]
        return found

    def task(self, kind: str) -> dict[str, Any]:
        spec, _ = self._of(kind)
        components = [spec["root"], *spec["components"].values()]
        dags = [component["dag"]["tasks"] for component in components if "dag" in component]
        (found,) = [tasks[NAMES[kind]] for tasks in dags if NAMES[kind] in tasks]
        assert isinstance(found, dict)
        return found


@pytest.fixture(scope="module")
def default() -> Compiled:
    return Compiled(Site())


@pytest.fixture(scope="module")
def sited(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    file = tmp_path_factory.mktemp("site") / "site.yaml"
    file.write_text(SITE)
    return Compiled(read_site(file))


def check(compiled: Compiled, kind: str, wanted: Resources) -> None:
    resources, kubernetes = compiled.container(kind)["resources"], compiled.kubernetes(kind)
    assert (resources["resourceCpuRequest"], resources["resourceCpuLimit"]) == wanted.cpu
    assert (resources["resourceMemoryRequest"], resources["resourceMemoryLimit"]) == wanted.memory
    assert kubernetes["activeDeadlineSeconds"] == str(wanted.timeout)
    retries = compiled.task(kind).get("retryPolicy", {})
    assert retries.get("maxRetryCount", 0) == wanted.retries
    if wanted.retries:
        assert (retries["backoffDuration"], retries["backoffFactor"]) == ("30s", 2.0)
    assert ("secretAsEnv" in kubernetes) == wanted.storage
    assert ("accelerator" in resources) == bool(wanted.gpu)


@pytest.mark.parametrize("kind", TASKS)
def test_every_task_has_the_resources_of_its_entry(default: Compiled, kind: str) -> None:
    check(default, kind, TASKS[kind])
    assert default.kubernetes(kind)["podMetadata"]["labels"] == {
        "app.kubernetes.io/name": "facet",
        "app.kubernetes.io/part-of": "facet",
        "app.kubernetes.io/component": NAMES[kind],
    }
    assert "imagePullSecret" not in default.kubernetes(kind)


def test_the_training_has_shared_memory_and_tolerates_the_taint_of_gpu_nodes(default: Compiled) -> None:
    kubernetes = default.kubernetes("train")
    (shared,) = kubernetes["emptyDirMounts"]
    assert shared == {"medium": "Memory", "mountPath": "/dev/shm", "sizeLimit": "2Gi", "volumeName": "shm"}
    assert kubernetes["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert default.container("train")["resources"]["accelerator"]["resourceType"] == "nvidia.com/gpu"


def test_the_number_of_gpus_is_a_parameter_that_the_driver_can_read(default: Compiled) -> None:
    count = default.container("train")["resources"]["accelerator"]["resourceCount"]
    assert count == "{{$.inputs.parameters['pipelinechannel--gpus']}}"
    inputs = default.task("train")["inputs"]["parameters"]
    assert inputs["pipelinechannel--gpus"] == {"componentInputParameter": "gpus"}
    gpus = default.spec["root"]["inputDefinitions"]["parameters"]["gpus"]
    assert (gpus["parameterType"], gpus["defaultValue"]) == ("STRING", "0"), "the driver reads text only"


def test_the_name_of_the_secret_is_a_parameter(default: Compiled) -> None:
    secret = default.spec["root"]["inputDefinitions"]["parameters"]["storage_secret"]
    assert secret["defaultValue"] == "facet-storage", "the driver refuses an empty name"
    for kind, wanted in TASKS.items():
        if not wanted.storage:
            continue
        (used,) = default.kubernetes(kind)["secretAsEnv"]
        inner = "pipelinechannel--storage_secret" if kind == "predict_shard" else "storage_secret"
        assert used["secretNameParameter"] == {"componentInputParameter": inner}
        assert used["optional"] is True
        assert "secretName" not in used
        variables = {item["secretKey"]: item["envVar"] for item in used["keyToEnv"]}
        assert variables == {key: key for key in SECRET_KEYS} | OWN_SERVER
    (branch,) = [task for name, task in default.spec["root"]["dag"]["tasks"].items() if name.startswith("condition")]
    handed = branch["inputs"]["parameters"]["pipelinechannel--storage_secret"]
    assert handed == {"componentInputParameter": "storage_secret"}
    (inner,) = default.kubernetes("register-2")["secretAsEnv"]
    assert inner["secretNameParameter"] == {"componentInputParameter": "pipelinechannel--storage_secret"}


def test_every_task_is_retried(default: Compiled) -> None:
    """A cluster may run any step twice in any case, so each of them bears it."""
    assert all(resources.retries for resources in TASKS.values())


def test_no_variable_of_a_pod_is_one_that_the_mlflow_plugin_sets(default: Compiled) -> None:
    """Of two variables with one name one arrives, or the pod is refused."""
    plugin = {f"MLFLOW_{name}" for name in ("RUN_ID", "EXPERIMENT_ID", "WORKSPACE")}
    plugin |= {f"MLFLOW_TRACKING_{name}" for name in ("URI", "AUTH", "TOKEN", "USERNAME", "PASSWORD")}
    for kind, wanted in TASKS.items():
        if wanted.storage:
            (used,) = default.kubernetes(kind)["secretAsEnv"]
            assert plugin.isdisjoint(item["envVar"] for item in used["keyToEnv"])


def test_a_site_changes_only_the_fields_that_it_names(sited: Compiled, default: Compiled) -> None:
    wanted = Resources.model_validate(
        {
            **TASKS["train"].model_dump(),
            "cpu": ("4", "16"),
            "memory": ("16Gi", "64Gi"),
            "retries": 5,
            "timeout": 3600,
        }
    )
    check(sited, "train", wanted)
    kubernetes = sited.kubernetes("train")
    assert kubernetes["emptyDirMounts"][0]["sizeLimit"] == "8Gi"
    assert sited.container("train")["resources"]["accelerator"]["resourceType"] == "nvidia.com/mig-1g.10gb"
    assert kubernetes["nodeSelector"] == {"labels": {"pool": "gpu"}}
    assert kubernetes["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "operator": "Equal", "value": "vision"},
    ]
    for kind, resources in TASKS.items():
        pull = [secret["secretName"] for secret in sited.kubernetes(kind)["imagePullSecret"]]
        assert pull == ["registry", "mirror"]
        assert sited.kubernetes(kind)["podMetadata"]["labels"]["team"] == "vision"
        if kind not in ("train", "predict"):
            check(sited, kind, resources)
    assert sited.spec["root"] == {**default.spec["root"], "dag": sited.spec["root"]["dag"]}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        file = tmp_path / "site.yaml"
        file.write_text(text)
        return file

    return write


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", r"site\.yaml: is not YAML"),
        ("[]", r"site\.yaml: Input should be a valid dictionary"),
        ("pull_secrets: [a]", r"site\.yaml: pull_secrets = \['a'\]: unknown key, did you mean"),
        (
            "tasks: {training: {}}",
            r"tasks\.training = {}: unknown task, did you mean 'train'\?; known: curate",
        ),
        ("tasks: {train: {cores: 4}}", r"tasks\.train\.cores = 4: unknown key; known: cpu, gpu, "),
        ("tasks: {train: {cpu: [4]}}", r"tasks\.train\.cpu\.1: is missing"),
        ("tasks: {train: {memory: [4GB, 8GB]}}", r"tasks\.train\.memory\.0 = '4GB': .*pattern"),
        ("tasks: {train: {tolerations: [{effect: Never}]}}", r"tasks\.train\.tolerations\.0\.effect = 'Never'"),
        ("tasks: {train: {timeout: 0}}", r"tasks\.train\.timeout = 0: .*greater than 0"),
    ],
)
def test_an_invalid_site_file(write: Callable[[str], Path], text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_site(write(text))


def test_an_empty_or_missing_site_file(write: Callable[[str], Path], tmp_path: Path) -> None:
    assert read_site(write("")) == Site()
    with pytest.raises(InputError, match="FACET_RESOURCES: .*nowhere cannot be read: No such file"):
        read_site(tmp_path / "nowhere")
