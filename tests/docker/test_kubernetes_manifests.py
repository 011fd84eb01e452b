"""The Kubernetes and KServe manifests: valid by the schemas, with least privileges, consistent with the code."""

import base64
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from docker_files import DOCKER, KUBERNETES, Overlay, pod_specs

from components import container_images
from pipelines.classification import ClassificationConfig
from pipelines.resources import SECRET_KEYS
from serving.runtime.load import open_model
from serving.server.http.app import create_app
from serving.server.http.server import CLOSE_S, DRAIN_S
from serving.server.options import parse_options
from serving.server.state import ModelRepository, ServerState

KUBERNETES_VERSIONS = ("1.30.0", "1.37.0")

POD_TEMPLATE = {
    "labels", "annotations", "serviceAccountName", "minReplicas", "maxReplicas", "scaleMetric", "scaleTarget",
    "containerConcurrency", "timeout", "canaryTrafficPercent", "deploymentStrategy", "model",
    "terminationGracePeriodSeconds",
}  # fmt: skip

# The fields of the custom resources that these manifests may use, as their definitions (KServe 0.21, the Prometheus
# operator 0.86, Kubeflow Trainer 2.0 to 2.3) have them. A dict goes on below, None ends; a list holds the form of its
# elements.
CUSTOM: dict[str, tuple[str, Any]] = {
    "InferenceService": (
        "serving.kserve.io/v1beta1",
        {
            "predictor": dict.fromkeys(POD_TEMPLATE)
            | {
                "model": {
                    "runtime": None,
                    "modelFormat": {"name": None, "version": None},
                    "protocolVersion": None,
                    "storageUri": None,
                    "args": None,
                    "env": None,
                    "envFrom": None,
                }
            }
        },
    ),
    "ServingRuntime": (
        "serving.kserve.io/v1alpha1",
        {
            "supportedModelFormats": [{"name": None, "version": None, "autoSelect": None, "priority": None}],
            "protocolVersions": None,
            "containers": None,
            "imagePullSecrets": None,
        },
    ),
    "ServiceMonitor": (
        "monitoring.coreos.com/v1",
        {
            "selector": {"matchLabels": None},
            "endpoints": [dict.fromkeys(("port", "path", "interval", "scrapeTimeout"))],
        },
    ),
    "PodMonitor": (
        "monitoring.coreos.com/v1",
        {
            "selector": {"matchLabels": None},
            "podMetricsEndpoints": [dict.fromkeys(("portNumber", "path", "interval", "scrapeTimeout"))],
        },
    ),
    "TrainingRuntime": (
        "trainer.kubeflow.org/v1alpha1",
        {
            "mlPolicy": {"numNodes": None, "torch": {}},
            "template": {
                "spec": {
                    "replicatedJobs": [
                        {
                            "name": None,
                            "template": {
                                "metadata": {"labels": None},
                                "spec": {"backoffLimit": None, "template": None},
                            },
                        }
                    ]
                }
            },
        },
    ),
    "PrometheusRule": (
        "monitoring.coreos.com/v1",
        {
            "groups": [
                {
                    "name": None,
                    "rules": [
                        {
                            "alert": None,
                            "expr": None,
                            "for": None,
                            "labels": {"severity": None},
                            "annotations": {"summary": None, "description": None},
                        }
                    ],
                }
            ]
        },
    ),
}


def unknown_fields(value: Any, form: Any, path: str) -> list[str]:
    if isinstance(form, list):
        return [
            fault for number, item in enumerate(value) for fault in unknown_fields(item, form[0], f"{path}[{number}]")
        ]
    if not isinstance(form, dict):
        return []
    faults = [f"{path}.{key}" for key in value if key not in form]
    return faults + [
        fault for key in value if key in form for fault in unknown_fields(value[key], form[key], f"{path}.{key}")
    ]


# --- schemas -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_objects_of_kubernetes_fit_its_schemas(overlay: Overlay, version: str) -> None:
    for document in overlay:
        if document["kind"] not in CUSTOM:
            kubernetes_validate.validate(document, version, strict=True)


def test_custom_objects_have_only_known_fields(overlay: Overlay) -> None:
    for document in overlay:
        if document["kind"] in CUSTOM:
            api, form = CUSTOM[document["kind"]]
            assert document["apiVersion"] == api
            assert unknown_fields(document["spec"], form, document["kind"]) == []


def test_containers_of_a_serving_runtime_are_containers(overlay: Overlay) -> None:
    for name, spec in pod_specs(overlay):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
        kubernetes_validate.validate(pod, KUBERNETES_VERSIONS[-1], strict=True)
        assert spec["containers"], name


@pytest.mark.parametrize(
    ("kind", "change", "fault"),
    [
        ("InferenceService", {"predictor": {"canaryTraffic": 1}}, "InferenceService.predictor.canaryTraffic"),
        (
            "PrometheusRule",
            {"groups": [{"rules": [{"expression": "1"}]}]},
            "PrometheusRule.groups[0].rules[0].expression",
        ),
    ],
)
def test_an_unknown_field_is_found(kind: str, change: dict[str, Any], fault: str) -> None:
    assert unknown_fields(change, CUSTOM[kind][1], kind) == [fault]


# --- safety --------------------------------------------------------------------------------------------------------


def test_containers_have_least_privileges(overlay: Overlay) -> None:
    for name, spec in pod_specs(overlay):
        pod = spec.get("securityContext", {})
        for container in spec["containers"]:
            own = pod | container["securityContext"]
            assert own["runAsNonRoot"] is True and own["runAsUser"] == 1000, name
            assert own["readOnlyRootFilesystem"] is True and own["allowPrivilegeEscalation"] is False, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert own["seccompProfile"] == {"type": "RuntimeDefault"}, name
            for bound in ("requests", "limits"):
                assert set(container["resources"][bound]) == {"cpu", "memory"}, name


def test_every_pod_of_ours_has_a_network_policy_and_a_disruption_budget(overlays: dict[str, Overlay]) -> None:
    for name in ("plain", "local"):
        labels = overlays[name].only("Deployment")["spec"]["template"]["metadata"]["labels"]
        for selected in (
            overlays[name].only("Service")["spec"]["selector"],
            overlays[name].only("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
            overlays[name].only("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
            overlays[name].only("Deployment")["spec"]["selector"]["matchLabels"],
        ):
            assert selected.items() <= labels.items()
    for name in ("kserve", "kserve-canary", "kserve-raw"):
        # KServe puts this label on the pods it makes.
        labels = {"serving.kserve.io/inferenceservice": overlays[name].only("InferenceService")["metadata"]["name"]}
        assert overlays[name].only("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
        assert overlays[name].only("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
        assert overlays[name].only("PodMonitor")["spec"]["selector"]["matchLabels"] == labels


def test_no_secret_is_written_down() -> None:
    for path in KUBERNETES.rglob("*"):
        if path.is_file() and path.name != ".env":
            text = path.read_text()
            assert "kind: Secret" not in text, path
            for key, value in re.findall(r"(\w*(?:SECRET|PASSWORD|ACCESS_KEY)\w*)=(.*)", text):
                assert value in ("", "change-me"), f"{path}: {key}"


# --- in step with the code -----------------------------------------------------------------------------------------


def test_the_secret_has_the_keys_that_the_steps_read(overlays: dict[str, Overlay]) -> None:
    expected = ClassificationConfig().storage_secret
    for name in ("pipelines", "local"):
        secret = overlays[name].only("Secret")
        assert secret["metadata"]["name"] == expected
        assert sorted(secret["data"]) == sorted(SECRET_KEYS)
        assert overlays[name].only("ServiceAccount")["secrets"] == [{"name": expected}]
    for name in ("plain", "local"):
        container = overlays[name].only("Deployment")["spec"]["template"]["spec"]["containers"][0]
        assert container["envFrom"] == [{"secretRef": {"name": expected}}]


def test_the_endpoint_is_equal_in_three_manifests(overlays: dict[str, Overlay]) -> None:
    secret = overlays["pipelines"].only("Secret")
    values = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    notes = secret["metadata"]["annotations"]
    launcher = overlays["pipelines"].only("ConfigMap")
    assert launcher["metadata"]["name"] == "kfp-launcher"
    assert launcher["data"]["defaultPipelineRoot"].startswith("s3://pipelines/")
    provider = yaml.safe_load(launcher["data"]["providers"])["s3"]["default"]
    scheme, _, endpoint = values["AWS_ENDPOINT_URL"].partition("://")
    assert values["MLFLOW_S3_ENDPOINT_URL"] == values["AWS_ENDPOINT_URL"]
    assert provider["endpoint"] == notes["serving.kserve.io/s3-endpoint"] == endpoint
    assert provider["region"] == notes["serving.kserve.io/s3-region"] == values["AWS_DEFAULT_REGION"]
    assert provider["disableSSL"] is (scheme == "http")
    assert notes["serving.kserve.io/s3-usehttps"] == str(int(scheme == "https"))
    assert provider["forcePathStyle"] is True and notes["serving.kserve.io/s3-usevirtualbucket"] == "0"
    reference = provider["credentials"]["secretRef"]
    assert reference["secretName"] == secret["metadata"]["name"]
    assert {reference["accessKeyKey"], reference["secretKeyKey"]} <= set(values)
    assert set(provider) == {
        "endpoint", "region", "disableSSL", "forcePathStyle", "maxRetries", "credentials",
    }  # fmt: skip


def test_the_server_takes_the_arguments_and_answers_the_probes(
    overlay: Overlay, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = ServerState(models=ModelRepository(open_model(model_file.read_bytes(), threads=1)))
    routes = {getattr(route, "path", "") for route in create_app(state).routes}
    for name, spec in pod_specs(overlay):
        for container in spec["containers"]:
            assert container["image"] == container_images.SERVE, name
            variables = {item["name"]: item["value"] for item in container.get("env", ())}
            arguments = [text.replace("{{.Name}}", "faces") for text in container.get("args", ())]
            with monkeypatch.context() as environment:
                for variable in ("FACET_MODEL_URI", "FACET_MODEL_DIR"):
                    environment.setenv(variable, variables.get(variable, ""))
                options = parse_options(arguments)
            assert options.model or options.model_dir, name
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            assert options.port in ports.values()
            assert set(ports.values()) <= {options.port, int(variables["FACET_GRPC_PORT"])}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if probe in container:
                    asked = container[probe]["httpGet"]
                    assert asked["path"] in routes and ports.get(asked["port"], asked["port"]) == options.port, name
            assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"


def test_a_stopping_pod_has_time_for_its_requests(overlays: dict[str, Overlay]) -> None:
    spec = overlays["plain"].only("Deployment")["spec"]["template"]["spec"]
    variables = {item["name"]: item["value"] for item in spec["containers"][0]["env"]}
    needed = float(variables["FACET_DRAIN_S"]) + DRAIN_S + CLOSE_S
    assert spec["terminationGracePeriodSeconds"] > needed
    assert (
        overlays["kserve-raw"].only("InferenceService")["spec"]["predictor"]["terminationGracePeriodSeconds"] > needed
    )
    probe = spec["containers"][0]["readinessProbe"]
    assert float(variables["FACET_DRAIN_S"]) > probe["periodSeconds"] * probe["failureThreshold"]


def test_the_autoscaler_targets_the_deployment(overlays: dict[str, Overlay]) -> None:
    plain = overlays["plain"]
    deployment = plain.only("Deployment")
    scaler = plain.only("HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "facet-serving"}
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"], "an apply would undo what the autoscaler has set"
    assert 2 <= scaler["minReplicas"] < scaler["maxReplicas"]
    knative, raw = (overlays[name].only("InferenceService")["spec"]["predictor"] for name in ("kserve", "kserve-raw"))
    assert knative["scaleMetric"] == "concurrency" and knative["containerConcurrency"] >= knative["scaleTarget"]
    assert raw["scaleMetric"] == "cpu" and "containerConcurrency" not in raw


def test_the_canary_serves_another_model_to_a_share_of_requests(overlays: dict[str, Overlay]) -> None:
    stable, canary = (overlays[name].only("InferenceService") for name in ("kserve", "kserve-canary"))
    assert 0 < canary["spec"]["predictor"].pop("canaryTrafficPercent") < 50
    uris = [service["spec"]["predictor"]["model"].pop("storageUri") for service in (stable, canary)]
    assert uris[0] != uris[1] and all(uri.startswith("s3://") for uri in uris)
    assert stable == canary, "nothing else may differ, or the canary tests more than the model"


@pytest.mark.parametrize("overlay_name", ["plain", "kserve"])
def test_an_image_is_set_by_a_kustomization_on_top(
    overlay_name: str, tmp_path: Path, overlays: dict[str, Overlay]
) -> None:
    """As in the docs, with the pushed digest."""
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    mine = tmp_path / "mine"
    mine.mkdir()
    digest = "sha256:" + 64 * "a"
    (mine / "kustomization.yaml").write_text(
        f"resources: [../kubernetes/overlays/{overlay_name}]\n"
        f"images: [{{name: facet/serve, newName: registry.example.org/facet/serve, digest: '{digest}'}}]\n"
    )
    built = subprocess.run(["kubectl", "kustomize", mine], capture_output=True, text=True, check=True).stdout
    images = {c["image"] for _, spec in pod_specs(list(yaml.safe_load_all(built))) for c in spec["containers"]}
    assert images == {f"registry.example.org/facet/serve@{digest}"}


def test_docker_is_not_a_package() -> None:
    assert not list(DOCKER.rglob("__init__.py")), "it would hide the docker SDK"
