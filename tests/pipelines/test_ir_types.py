"""The compiled IR, read as strictly as a cluster's driver does: KFP's local runner forgives what a backend refuses."""

import base64
import gzip
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec import pipeline_spec_pb2

from pipelines.catalog import PIPELINES
from pipelines.intermediate import read_documents

COMPILED = sorted(Path("pipelines/compiled").glob("*.yaml"))
LONGEST_NAME = 63  # of a Kubernetes label, which a task's name becomes

Spec = dict[str, Any]


def dags(spec: Spec) -> Iterator[tuple[str, Spec]]:
    for name, component in {"root": spec["root"], **spec["components"]}.items():
        if "dag" in component:
            yield name, component


def types(component: Spec, side: str) -> dict[str, str]:
    """Parameter and artifact types of a component's `inputDefinitions` or `outputDefinitions`."""
    definitions = component.get(side, {})
    parameters = {name: entry["parameterType"] for name, entry in definitions.get("parameters", {}).items()}
    artifacts = {
        name: ("list of " if entry.get("isArtifactList") else "") + entry["artifactType"]["schemaTitle"]
        for name, entry in definitions.get("artifacts", {}).items()
    }
    return parameters | artifacts


def source_type(spec: Spec, dag: Spec, task: Spec, source: Spec) -> str | None:
    """The type of what feeds an input; None for a constant."""
    if "taskOutputParameter" in source or "taskOutputArtifact" in source:
        output = source.get("taskOutputParameter") or source["taskOutputArtifact"]
        producer = spec["components"][dag["dag"]["tasks"][output["producerTask"]]["componentRef"]["name"]]
        return types(producer, "outputDefinitions")[output.get("outputParameterKey") or output["outputArtifactKey"]]
    name = source.get("componentInputParameter") or source.get("componentInputArtifact")
    if name is None:
        return None
    iterator = task.get("parameterIterator", {})
    if name == iterator.get("itemInput"):
        return "item"
    return types(dag, "inputDefinitions")[name]


@pytest.mark.parametrize("file", COMPILED, ids=lambda file: file.stem)
def test_an_input_has_the_type_of_what_feeds_it(file: Path) -> None:
    spec, _ = read_documents(file.read_text())
    edges = 0
    for name, dag in dags(spec):
        for title, task in dag["dag"]["tasks"].items():
            wanted = types(spec["components"][task["componentRef"]["name"]], "inputDefinitions")
            inputs = {**task.get("inputs", {}).get("parameters", {}), **task.get("inputs", {}).get("artifacts", {})}
            for key, source in inputs.items():
                kind = source_type(spec, dag, task, source)
                if key.startswith("pipelinechannel--") and key not in wanted:
                    continue  # a placeholder in the task's platform configuration, not an input of its program
                if kind not in (None, "item"):
                    assert kind == wanted[key], f"{name}: {title}.{key} is {wanted[key]}, fed with {kind}"
                    edges += 1
    assert edges >= {"face_landmarks": 5, "batch_prediction": 15}.get(file.stem, 41)


@pytest.mark.parametrize("file", COMPILED, ids=lambda file: file.stem)
def test_the_items_of_a_loop_have_the_type_of_every_input_that_they_feed(file: Path) -> None:
    spec, _ = read_documents(file.read_text())
    loops = 0
    for _, dag in dags(spec):
        for title, task in dag["dag"]["tasks"].items():
            if "parameterIterator" not in task:
                continue
            iterator = task["parameterIterator"]
            body = spec["components"][task["componentRef"]["name"]]
            item = iterator["itemInput"]
            kind = types(body, "inputDefinitions")[item]
            values = iterator["items"]
            if "raw" not in values:
                feeds = task["inputs"]["parameters"][values["inputParameter"]]
                assert source_type(spec, dag, task, feeds) == "LIST", title
            fed = 0
            for inner in body["dag"]["tasks"].values():
                wanted = types(spec["components"][inner["componentRef"]["name"]], "inputDefinitions")
                for key, source in inner["inputs"].get("parameters", {}).items():
                    if source.get("componentInputParameter") == item:
                        assert wanted[key] == kind, f"{title}: an item is {kind}, {key} wants {wanted[key]}"
                        fed += 1
            assert fed, title
            loops += 1
    of_trainings = {"cross_validation": 1, "search": 5}.get(file.stem.removesuffix("_faces"), 0)
    of_shards = int("detection-shards" in spec["root"]["dag"]["tasks"])
    assert loops == of_trainings + of_shards


@pytest.mark.parametrize("file", COMPILED, ids=lambda file: file.stem)
def test_retries_fit_into_their_period_and_names_into_labels(file: Path) -> None:
    spec, platform = read_documents(file.read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    retried = 0
    for _, dag in dags(spec):
        for name, task in dag["dag"]["tasks"].items():
            assert len(name) <= LONGEST_NAME and re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name), name
            if "retryPolicy" not in task:
                continue
            policy, label = task["retryPolicy"], spec["components"][task["componentRef"]["name"]]["executorLabel"]
            attempt = int(executors[label]["activeDeadlineSeconds"])
            period = int(policy["backoffMaxDuration"].removesuffix("s"))
            wait = int(policy["backoffDuration"].removesuffix("s"))
            waits = sum(wait * policy["backoffFactor"] ** number for number in range(policy["maxRetryCount"]))
            assert period >= (policy["maxRetryCount"] + 1) * attempt + waits, name
            assert period < 2**31
            retried += 1
    assert retried >= {"face_landmarks": 3, "batch_prediction": 5}.get(file.stem, 6)


@pytest.mark.parametrize("file", COMPILED, ids=lambda file: file.stem)
def test_no_secret_has_an_empty_name(file: Path) -> None:
    """Kubernetes refuses a pod with a Secret without a name, also where the Secret is optional."""
    spec, platform = read_documents(file.read_text())
    secrets = 0
    for executor in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        for secret in executor.get("secretAsEnv", []):
            source = secret["secretNameParameter"]
            assert source.get("componentInputParameter") or source["runtimeValue"]["constant"]
            secrets += 1
    assert secrets
    names = spec["root"]["inputDefinitions"]["parameters"]["storage_secret"]
    assert names["defaultValue"]


@pytest.mark.parametrize("file", COMPILED, ids=lambda file: file.stem)
def test_every_parameter_is_read(file: Path) -> None:
    """By a task or, as the Secret, by what a pod gets; the parameters of a cluster are those of every pipeline."""
    spec, _ = read_documents(file.read_text())
    tasks = json.dumps(spec["root"]["dag"])
    names = spec["root"]["inputDefinitions"]["parameters"].keys() - {"gpus", "storage_secret"}
    assert not {name for name in names if f'"{name}"' not in tasks and f"pipelinechannel--{name}" not in tasks}


def test_every_pipeline_is_compiled() -> None:
    assert {file.stem for file in COMPILED} == set(PIPELINES)


def fields(message: Message) -> Iterator[tuple[str, str]]:
    """Message and field of everything that is set, at any depth."""
    for field, value in message.ListFields():
        yield message.DESCRIPTOR.full_name, field.name
        if field.message_type is None or field.message_type.full_name.startswith("google."):
            continue
        if field.message_type.GetOptions().map_entry:
            values = list(value.values())
        else:
            values = list(value) if field.is_repeated else [value]
        for inner in values:
            if isinstance(inner, Message) and not inner.DESCRIPTOR.full_name.startswith("google."):
                yield from fields(inner)


@pytest.mark.parametrize("file", COMPILED, ids=lambda file: file.stem)
def test_no_field_is_younger_than_the_oldest_server(file: Path) -> None:
    """A server refuses fields that it does not know. The list is that of KFP's packages of 2.15.0."""
    known = json.loads((Path(__file__).parent / "fields_of_2_15.json").read_text())
    spec, platform = read_documents(file.read_text())
    messages = [
        ParseDict(spec, pipeline_spec_pb2.PipelineSpec()),
        ParseDict(spec["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig()),
        ParseDict(platform, pipeline_spec_pb2.PlatformSpec()),
    ]
    for executor in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        messages.append(ParseDict(executor, KubernetesExecutorConfig()))
    used = {field for message in messages for field in fields(message)}
    assert len(used) > 60 and ("kfp_kubernetes.SecretAsEnv", "optional") in used
    assert [f"{message}.{field}" for message, field in sorted(used) if field not in known.get(message, ())] == []


def test_a_search_of_100_trials_fits_into_a_workflow_object() -> None:
    """Argo keeps the nodes of a run in the workflow, compressed and in base64, and Kubernetes takes 1 MiB of it. A
    training has five nodes (task, driver, executor and the two of its iteration); each may hold what it was started
    with: the specification, the program and the resources.
    """
    spec, platform = read_documents(Path("pipelines/compiled/search.yaml").read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    started_with = [
        spec["components"]["comp-train-classifier"],
        spec["deploymentSpec"]["executors"]["exec-train-classifier"],
        executors["exec-train-classifier"],
    ]
    nodes = [{"id": str(uuid.uuid4()), "at": f"{number}", "inputs": started_with} for number in range(5 * 100)]
    workflow = json.dumps([spec, platform, nodes]).encode()
    assert len(workflow) > 2**20
    assert len(base64.b64encode(gzip.compress(workflow))) < 2**19
