"""A training on several nodes: the step starts a TrainJob of Kubeflow Trainer, waits for it and fetches its result.

The pods read the data where KFP keeps the step's artifacts, in S3, and write beside the step's output there.
"""

import hashlib
import json
import logging
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from components.shared.output_folder import complete_folder
from components.shared.secret import SECRET_KEYS
from components.train_classifier.cluster.kubernetes_api import GROUP, VERSION, TrainJobApi, UnansweredError, connect
from components.train_classifier.config.training import TrainConfig
from components.train_classifier.record import best_row
from components.train_classifier.train import TrainResult
from serving.runtime.errors import InputError
from serving.runtime.storage import Location, download, s3_client, upload

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

POLL_S = 10.0
PATIENCE_S = 300.0

_MOUNTS = ("/s3/", "/minio/")


def train_on_nodes(
    config: TrainConfig, images: Path, annotations: Path, checkpoints: Path, *, experiment: str = "", run_name: str = ""
) -> TrainResult:
    """Train as `train` does, in the pods of a TrainJob that `config.train_job` describes.

    A step that is started again finds its TrainJob, or the finished epochs of one that has failed. The TrainJob is
    deleted when its result is here or this process is interrupted, and goes when its pod does.

    Raises:
        InputError: this is no pod of KFP, its account may not do this, or the training has failed; with the last
            lines that it wrote.
        StorageError: S3 cannot be read or written.
    """
    place = s3_address(checkpoints)
    arguments = {
        "images": s3_address(images),
        "annotations": s3_address(annotations),
        "checkpoints": f"{place}.nodes/checkpoints",
        "experiment": experiment,
        "run-name": run_name,
    }
    settings = config.model_dump(mode="json", exclude={"train_job"})
    settings["state"] = config.state or f"{place}.nodes/state"
    name = f"facet-{hashlib.sha256(json.dumps([settings, arguments]).encode()).hexdigest()[:16]}"
    api = connect()
    body = manifest(config, name, f"{place}.nodes/config.json", arguments, _answer(api.own_pod))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.json")
        file.write_text(json.dumps(settings))
        upload(file, f"{place}.nodes/config.json")
    with _deleted_when_interrupted(api, name):
        start(api, body)
        wait(api, name)
    with complete_folder(checkpoints) as folder_of_result:
        download(arguments["checkpoints"], folder_of_result)
    # First the TrainJob: one that is complete, without its result, would be taken for done by a later attempt.
    _answer(lambda: api.delete(name))
    _forget(f"{place}.nodes")
    return _result(checkpoints, config)


def s3_address(path: Path) -> str:
    """Return the s3:// address of an artifact from where KFP puts it in a pod: `/s3/bucket/key`.

    Raises InputError for another path.
    """
    for mount in _MOUNTS:
        if str(path).startswith(mount):
            return f"s3://{str(path).removeprefix(mount)}"
    raise InputError(
        f"train_job: {path} is not in S3, where the nodes could read it; it works in pipelines on a cluster whose "
        "pipeline root is an s3:// address"
    )


def manifest(
    config: TrainConfig, name: str, config_address: str, arguments: Mapping[str, str], pod: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the TrainJob `name`, which belongs to `pod` and runs in its image.

    `arguments` are those of `python -m components.train_classifier` beside the configuration; empty ones are left out.
    The number of nodes and processes comes to torch.distributed.run through variables that Kubeflow Trainer sets.
    """
    spec = config.train_job
    assert spec is not None
    containers = {container["name"]: container for container in pod["spec"]["containers"]}
    given = [text for key, value in arguments.items() if value for text in (f"--{key}", value)]
    trainer: dict[str, Any] = {
        "image": spec.image or containers.get("main", pod["spec"]["containers"][0])["image"],
        "command": ["python", "-m", "torch.distributed.run"],
        "args": ["-m", "components.train_classifier", config_address, *given],
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
                {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
            ],
        },
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": spec.runtime_kind, "name": spec.runtime},
            "trainer": trainer,
        },
    }


def start(api: TrainJobApi, body: Mapping[str, Any]) -> None:
    """Create a TrainJob, unless an earlier attempt of this step has left one that has not failed."""
    name = body["metadata"]["name"]
    while not _answer(lambda: api.create(body)):
        found = _answer(lambda: api.get(name))
        if found is not None and "deletionTimestamp" not in found["metadata"] and "Failed" not in _conditions(found):
            log.info("TrainJob %s was started before, and goes on", name)
            return
        _answer(lambda: api.delete(name))
        time.sleep(POLL_S)
    log.info("TrainJob %s is created in the namespace %s", name, api.namespace)


def wait(api: TrainJobApi, name: str) -> None:
    """Wait until a TrainJob is complete. Raises InputError when it has failed or is gone."""
    log.info("kubectl logs -n %s -f -l jobset.sigs.k8s.io/jobset-name=%s shows what it writes", api.namespace, name)
    suspended = False
    while True:
        job = _answer(lambda: api.get(name))
        if job is None:
            raise InputError(f"the TrainJob {name} was deleted before it was complete")
        conditions = _conditions(job)
        if "Complete" in conditions:
            return
        if "Failed" in conditions:
            why = f"{conditions['Failed'].get('reason', '')}: {conditions['Failed'].get('message', '')}"
            raise InputError(f"the TrainJob {name} has failed: {why}\n{api.last_words(name)}".rstrip())
        if suspended != ("Suspended" in conditions):
            suspended = not suspended
            log.info("TrainJob %s %s", name, "is suspended, and waits to be resumed" if suspended else "goes on")
        time.sleep(POLL_S)


def _answer(ask: Callable[[], Answer]) -> Answer:
    """Ask until there is an answer. Raises InputError when there has been none for `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except UnansweredError as error:
            if time.monotonic() > deadline:
                raise InputError(
                    f"the Kubernetes API has given no answer for {PATIENCE_S:.0f} seconds: {error}"
                ) from error
            log.warning("no answer, asking again: %s", error)
            time.sleep(POLL_S)


def _conditions(job: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The conditions of a TrainJob that hold, by type."""
    found = job.get("status", {}).get("conditions", ())
    return {condition["type"]: condition for condition in found if condition.get("status") == "True"}


@contextmanager
def _deleted_when_interrupted(api: TrainJobApi, name: str) -> Iterator[None]:
    """Delete the TrainJob when the block is left by Ctrl-C or by SIGTERM, with which Kubernetes ends a pod."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, leave) if in_main else None
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        log.warning("interrupted: TrainJob %s is deleted; the same step goes on after its last epoch", name)
        with suppress(UnansweredError):  # then it goes with the pod of this step
            api.delete(name)
        raise
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)


def _forget(address: str) -> None:
    place = Location(address)
    for entry in place.list():
        s3_client().delete_object(Bucket=place.bucket, Key=f"{place.key}/{entry.path}")


def _result(checkpoints: Path, config: TrainConfig) -> TrainResult:
    run_id = json.loads((checkpoints / "config.json").read_text(encoding="utf-8"))["run_id"]
    best = best_row(json.loads((checkpoints / "history.json").read_text(encoding="utf-8")), config.criterion)
    return TrainResult(run_id, int(best["epoch"]), {name: value for name, value in best.items() if name != "epoch"})
