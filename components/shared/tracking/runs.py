"""MLflow runs: opened by training, resumed by the steps after it.

Where `MLFLOW_TRACKING_URI` is not set, tracking is off: a run has the id "" and logging does nothing.
MLflow takes seconds to import, so it is imported inside the functions and only when tracking is on.
"""

import getpass
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.shared.tracking.killed import mark_killed, this_process
from components.shared.tracking.server import check_server, mlflow_client, tracking_is_on
from serving.runtime.addresses import masked
from serving.runtime.errors import InputError, NoAnswerError, NotFoundError, StorageError
from serving.runtime.storage import is_s3

if TYPE_CHECKING:
    from mlflow import MlflowClient

DEFAULT_EXPERIMENT = "facet"
PARENT = "mlflow.parentRunId"
"""The tag that makes a run the child of another one."""
_LONGEST_VALUE = 6000
_LONGEST_DIGEST = 36
KFP_RUN = "facet.kfp_run"
"""The tag with the run that the MLflow plugin of Kubeflow Pipelines has opened for the step."""
_WARNING = "%s. The step continues without it, its outputs will be complete, and nothing more is sent to MLflow"
_NOT_STORED = "%s. They are among the outputs of the step, and no others are uploaded to this MLflow run"

log = logging.getLogger(__name__)


class Run:
    """A run to log to; every method does nothing when tracking is off (`run_id` is "").

    A `tolerant` run survives its server: when that does not answer, a warning says so, and nothing is sent after it.
    When the store of its artifacts fails, no more artifacts are.
    """

    def __init__(self, run_id: str = "", client: "MlflowClient | None" = None, *, tolerant: bool = False) -> None:
        assert bool(run_id) == (client is not None)
        self.run_id = run_id
        self._client = client
        self._tolerant = tolerant
        self._stores = True

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log the metrics in one request."""
        if self._client is None:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(k, float(v), now, step) for k, v in values.items()]
        self._send(lambda client: client.log_batch(self.run_id, metrics=metrics))

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters that the run does not have yet; nested mappings become dotted names.

        MLflow never changes a parameter: a name that the run has keeps its value. Text beyond MLflow's limit of 6000
        characters is cut. Never pass secrets.
        """
        if self._client is None:
            return
        from mlflow.entities import Param

        def send(client: "MlflowClient") -> None:
            existing = client.get_run(self.run_id).data.params
            new = [Param(name, text) for name, text in _flat(values) if name not in existing]
            client.log_batch(self.run_id, params=new)

        self._send(send)

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags; a tag that exists gets the new value."""
        if self._client is None:
            return
        from mlflow.entities import RunTag

        tags = [RunTag(name, text) for name, text in _flat(values)]
        self._send(lambda client: client.log_batch(self.run_id, tags=tags))

    def dataset(self, name: str, digest: str, source: str, profile: Mapping[str, Any]) -> None:
        """Name the data set that the run is trained on.

        Args:
            name: what the page of the run shows.
            digest: of the data set, of which MLflow keeps 36 characters.
            source: the address of the raw data.
            profile: numbers about it.
        """
        if self._client is None:
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entity = Dataset(
            name=name,
            digest=digest[:_LONGEST_DIGEST],
            source_type="s3" if is_s3(source) else "local",
            source=json.dumps({"uri": source}),
            profile=json.dumps(profile),
        )
        read = DatasetInput(entity, [InputTag("mlflow.data.context", "training")])
        self._send(lambda client: client.log_inputs(self.run_id, [read]))

    def artifact(self, path: Path, folder: str = "") -> None:
        """Upload a file, or a folder with everything in it, to `folder` of the run's artifacts."""
        if path.is_dir():
            self._store(lambda client: client.log_artifacts(self.run_id, str(path), folder or None))
        else:
            self._store(lambda client: client.log_artifact(self.run_id, str(path), folder or None))

    def text(self, text: str, path: str) -> None:
        """Upload a text as the file `path` of the run's artifacts."""
        self._store(lambda client: client.log_text(self.run_id, text, path))

    def adopt(self, run_ids: Iterable[str]) -> None:
        """Make the runs with these ids children of this one; "" is a run that was not tracked."""

        def send(client: "MlflowClient") -> None:
            for run_id in filter(None, run_ids):
                client.set_tag(run_id, PARENT, self.run_id)

        self._send(send)

    def close(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED."""
        self._send(lambda client: client.set_terminated(self.run_id, status))

    def _send(self, call: Callable[["MlflowClient"], object]) -> None:
        if self._client is None:
            return
        try:
            call(self._client)
        except Exception as error:  # MLflow and the stores of its artifacts have no common error type
            if not self._tolerant:
                raise
            self._client = None
            log.warning(_WARNING, masked(str(error)))

    def _store(self, call: Callable[["MlflowClient"], object]) -> None:
        def send(client: "MlflowClient") -> None:
            try:
                call(client)
            except StorageError as error:
                if not self._tolerant or isinstance(error, NoAnswerError):
                    raise
                self._stores = False
                log.warning(_NOT_STORED, masked(str(error)))

        if self._stores:
            self._send(send)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str, sort_keys=True)
            yield f"{prefix}{key}", text[:_LONGEST_VALUE]


@contextmanager
def open_run(
    experiment: str,
    *,
    run_name: str = "",
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    run_id: str = "",
    part: bool = False,
    tolerant: bool = False,
) -> Iterator[Run]:
    """Open a run for the body of a `with` statement and close it as finished, failed or killed.

    When `MLFLOW_RUN_ID` is set, that run is used and left open for whoever started it, and `experiment` and `run_name`
    are ignored; NotFoundError when it does not exist. `run_id` is an earlier run to continue, if it still exists.

    A run that is `part` of something larger, such as a fold or a trial, is not the one in `MLFLOW_RUN_ID`, which would
    mix the curves of all parts, but a child of it.

    In a pod of Kubeflow Pipelines `MLFLOW_RUN_ID` is that of its MLflow plugin, into which the server itself writes and
    which it closes: a run of our own is opened, with a tag that names the plugin's where that is on the same server.

    With `tolerant` the body runs without MLflow, after a warning, when its server does not answer or stops answering.
    """
    if not tracking_is_on():
        yield Run()
        return
    external, plugin = _preset_run()
    external, parent = ("", external) if part else (external, "")
    try:
        client = mlflow_client()
        known = _existing_run(client, external, run_id)
        run_id = known or _new_run(client, experiment, run_name, parent)
        if not external:
            if plugin and _exists(client, plugin):
                client.set_tag(run_id, KFP_RUN, plugin)
            if known:
                for name, text in this_process().items():
                    client.set_tag(run_id, name, text)
            mark_killed(client, run_id)
    except NoAnswerError as error:
        if not tolerant:
            raise
        log.warning(_WARNING, masked(str(error)))
        yield Run()
        return
    run = Run(run_id, client, tolerant=tolerant)
    status = "FAILED"
    try:
        run.params(params or {})
        run.tags(tags or {})
        yield run
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        if not external:
            run.close(status)


def check_tracking(experiment: str) -> None:
    """Find out, before any work is done, whether a run can be opened in an experiment, which is created.

    A server that does not answer is no error: `open_run` waits for it.

    Raises:
        InputError: the experiment has no name, or the run in `MLFLOW_RUN_ID` does not exist.
        StorageError: the server's address or the credentials are wrong.
    """
    if not tracking_is_on() or not check_server():
        return
    external, _ = _preset_run()
    if external:
        _check_exists(mlflow_client(), external)
    else:
        _experiment_id(mlflow_client(), experiment)


def _preset_run() -> tuple[str, str]:
    """Return the run in `MLFLOW_RUN_ID`, as that of the user and as that of Kubeflow Pipelines; one of them is ""."""
    run_id = os.environ.get("MLFLOW_RUN_ID", "")
    return ("", run_id) if "KFP_POD_NAME" in os.environ else (run_id, "")


def _exists(client: "MlflowClient", run_id: str) -> bool:
    try:
        _check_exists(client, run_id)
    except NotFoundError:
        return False
    return True


def _existing_run(client: "MlflowClient", external: str, own: str) -> str:
    if external:
        _check_exists(client, external)
        return external
    return own if own and _exists(client, own) else ""


def _new_run(client: "MlflowClient", experiment: str, run_name: str, parent: str) -> str:
    if parent:
        _check_exists(client, parent)
        experiment_id, tags = client.get_run(parent).info.experiment_id, {PARENT: parent}
    else:
        experiment_id, tags = _experiment_id(client, experiment), {}
    tags |= _origin() | this_process()
    created = client.create_run(experiment_id, run_name=run_name or None, tags=tags)
    return str(created.info.run_id)


def _origin() -> dict[str, str]:
    """The tags of who created a run, and from where, as MLflow's own runs have them."""
    on_cluster = "KUBERNETES_SERVICE_HOST" in os.environ
    tags = {"mlflow.source.name": "facet", "mlflow.source.type": "JOB" if on_cluster else "LOCAL"}
    with suppress(OSError, KeyError):  # a user id without a name
        tags["mlflow.user"] = getpass.getuser()
    return tags


def resume_run(run_id: str, *, tolerant: bool = False) -> Run:
    """Return a run for a later step to log to; its status stays. "" returns a run that logs nothing.

    With `tolerant` the run logs nothing, after a warning, when the server does not answer or stops answering.

    Raises NotFoundError when tracking is on and the run does not exist.
    """
    if not run_id or not tracking_is_on():
        return Run()
    client = mlflow_client()
    try:
        _check_exists(client, run_id)
    except NoAnswerError as error:
        if not tolerant:
            raise
        log.warning(_WARNING, error)
        return Run()
    return Run(run_id, client, tolerant=tolerant)


def _check_exists(client: "MlflowClient", run_id: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(run_id)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise NotFoundError(
                f"MLflow has no run '{run_id}': check MLFLOW_TRACKING_URI, and the run_id parameter or MLFLOW_RUN_ID"
            ) from error
        raise


def _experiment_id(client: "MlflowClient", name: str) -> str:
    from mlflow.exceptions import MlflowException

    if not name:
        raise InputError("the MLflow experiment has no name: set the experiment parameter")
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            # Another process created it in between.
            experiment = client.get_experiment_by_name(name)
            assert experiment is not None
    return str(experiment.experiment_id)
