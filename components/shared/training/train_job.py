"""Training on several nodes: a step starts a TrainJob of Kubeflow Trainer, waits for it and downloads its output.

The pods read the step's input artifacts from S3, where KFP stores them, and write next to the step's output there.
"""

import hashlib
import json
import logging
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from components.shared.training.kubernetes_api import GROUP, VERSION, TrainJobApi, connect
from components.shared.training.train_job_config import SECRET_KEYS, TrainJobSpec
from serving.runtime.errors import InputError
from serving.runtime.output import whole_folder
from serving.runtime.storage import Location, download, upload

log = logging.getLogger(__name__)

POLL_S = 10.0

_MOUNTS = ("/s3/", "/minio/")


def train_on_nodes(
    spec: TrainJobSpec,
    module: str,
    options: Mapping[str, Any],
    *,
    inputs: Mapping[str, Path],
    output: tuple[str, Path],
    arguments: Mapping[str, str] = {},
) -> None:
    """Run `python -m <module>` with `torch.distributed.run` on the nodes of a TrainJob, and download its output folder.

    A step that is started again finds its TrainJob, or the finished epochs of one that failed. The TrainJob is deleted
    when its output is here or this process is interrupted, and with the pod of this step.

    Args:
        spec: the nodes.
        module: a command that takes a JSON file of options, and `--<name>` for each input, output and argument; paths
            may be `s3://` addresses.
        options: the content of that file. Its entry `state`, where finished epochs are kept, is set when it is empty.
        inputs: artifacts of this step by argument name.
        output: argument name and output folder of this step.
        arguments: further arguments by name; empty ones are left out.

    Raises:
        InputError: this is not a pod of KFP, its service account lacks a permission, or the training failed; with the
            last lines of its log.
        StorageError: S3 cannot be read or written.
    """
    name_of_output, folder = output
    scratch = f"{s3_address(folder)}.nodes"
    config_address, result_address = f"{scratch}/config.json", f"{scratch}/{name_of_output}"
    options = {**options, "state": options.get("state") or f"{scratch}/state"}
    addresses = {name: s3_address(path) for name, path in inputs.items()} | {name_of_output: result_address}
    pairs = [(f"--{name}", value) for name, value in {**addresses, **arguments}.items() if value]
    command = ["-m", module, config_address, *(text for pair in pairs for text in pair)]
    name = f"facet-{hashlib.sha256(json.dumps([options, command]).encode()).hexdigest()[:16]}"
    api = connect()
    body = manifest(spec, name, command, api.own_pod())
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, "config.json")
        file.write_text(json.dumps(options))
        upload(file, config_address)
    with _deleted_when_interrupted(api, name):
        start(api, body)
        wait(api, name)
    with whole_folder(folder) as partial:
        download(result_address, partial)
    # First the TrainJob: a complete one without its output would be taken for finished by a later attempt.
    api.delete(name)
    location = Location(scratch)
    for entry in location.list():
        location.delete(entry.path)


def s3_address(path: Path) -> str:
    """Return the s3:// address of an artifact from its path in a pod of KFP: `/s3/bucket/key`.

    Raises InputError for another path.
    """
    for mount in _MOUNTS:
        if str(path).startswith(mount):
            return f"s3://{str(path).removeprefix(mount)}"
    raise InputError(
        f"train_job: {path} is not in S3, where the nodes could read it; use it in a pipeline on a cluster whose "
        "pipeline root is an s3:// address"
    )


def manifest(spec: TrainJobSpec, name: str, command: Sequence[str], pod: Any) -> dict[str, Any]:
    """Return the TrainJob `name`, which is owned by `pod`, a V1Pod, and runs in its image.

    `command` are the arguments of `python -m torch.distributed.run`, which gets the number of nodes and processes from
    variables that Kubeflow Trainer sets.
    """
    containers = {container.name: container for container in pod.spec.containers}
    trainer: dict[str, Any] = {
        "image": spec.image or containers.get("main", pod.spec.containers[0]).image,
        "command": ["python", "-m", "torch.distributed.run"],
        "args": list(command),
        "numNodes": spec.nodes,
        "numProcPerNode": spec.processes,
        "env": [
            {"name": key, "valueFrom": {"secretKeyRef": {"name": spec.secret, "key": key, "optional": True}}}
            for key in SECRET_KEYS
        ],
    }
    if spec.resources:
        # Without requests Kubeflow Trainer starts one process, whatever numProcPerNode says.
        trainer["resourcesPerNode"] = {"requests": spec.resources, "limits": spec.resources}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/name": "facet", "app.kubernetes.io/part-of": "facet"},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid}
            ],
        },
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": spec.runtime_kind, "name": spec.runtime},
            "trainer": trainer,
        },
    }


def start(api: TrainJobApi, body: Mapping[str, Any]) -> None:
    """Create a TrainJob, unless an earlier attempt of this step left one that has not failed."""
    name = body["metadata"]["name"]
    while not api.create(body):
        job = api.get(name)
        if job is not None and "deletionTimestamp" not in job["metadata"] and "Failed" not in _conditions(job):
            log.info("TrainJob %s was started by an earlier attempt of this step", name)
            return
        api.delete(name)
        time.sleep(POLL_S)
    log.info("TrainJob %s created in the namespace %s", name, api.namespace)


def wait(api: TrainJobApi, name: str) -> None:
    """Wait until a TrainJob is complete. Raises InputError when it failed or was deleted."""
    log.info("its log: kubectl logs -n %s -f -l jobset.sigs.k8s.io/jobset-name=%s", api.namespace, name)
    suspended = False
    while True:
        job = api.get(name)
        if job is None:
            raise InputError(f"the TrainJob {name} was deleted before it was complete")
        conditions = _conditions(job)
        if "Complete" in conditions:
            return
        if failure := conditions.get("Failed"):
            reason = f"{failure.get('reason', '')}: {failure.get('message', '')}"
            raise InputError(f"the TrainJob {name} failed: {reason}\n{api.failure_log(name)}".rstrip())
        if suspended != ("Suspended" in conditions):
            suspended = not suspended
            log.info("TrainJob %s is %s", name, "suspended" if suspended else "resumed")
        time.sleep(POLL_S)


def _conditions(job: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The conditions of a TrainJob that are true, by type."""
    conditions = job.get("status", {}).get("conditions", ())
    return {condition["type"]: condition for condition in conditions if condition.get("status") == "True"}


@contextmanager
def _deleted_when_interrupted(api: TrainJobApi, name: str) -> Iterator[None]:
    """Delete the TrainJob on Ctrl-C and on SIGTERM, with which Kubernetes stops a pod."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        log.warning("interrupted: deleting TrainJob %s; the same step continues after its last epoch", name)
        with suppress(InputError):  # then it is deleted with the pod of this step
            api.delete(name)
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)
