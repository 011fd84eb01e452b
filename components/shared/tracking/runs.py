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

from serving.runtime.addresses import masked, separate_credentials
from serving.runtime.errors import InputError, NotFoundError
from serving.runtime.storage import is_s3

if TYPE_CHECKING:
    from mlflow import MlflowClient

DEFAULT_EXPERIMENT = "facet"
PARENT = "mlflow.parentRunId"
"""The tag that makes a run the child of another one."""
_LONGEST_VALUE = 6000
_LONGEST_DIGEST = 36
_WARNING = (
    "the MLflow server in MLFLOW_TRACKING_URI %s: the step continues without it, its outputs will be complete, and "
    "nothing more is sent to MLflow (%s)"
)

log = logging.getLogger(__name__)


def tracking_is_on() -> bool:
    """Return whether `MLFLOW_TRACKING_URI` names a server."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI"))


def mlflow_client() -> "MlflowClient":
    """Return a client of the server in `MLFLOW_TRACKING_URI`.

    MLflow's own retries, after 2, 4, 8 ... seconds and for two minutes in all, wait for a server that is still
    starting. Its progress messages, and one warning per retry, are silenced.
    """
    separate_credentials(os.environ)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    from mlflow import MlflowClient

    for name in ("mlflow", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient()


class Run:
    """A run to log to; every method does nothing when tracking is off (`run_id` is "").

    A `tolerant` run survives its server: the first call that fails logs a warning, and nothing is sent after it.
    """

    def __init__(self, run_id: str = "", client: "MlflowClient | None" = None, *, tolerant: bool = False) -> None:
        assert bool(run_id) == (client is not None)
        self.run_id = run_id
        self._client = client
        self._tolerant = tolerant

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
            self._send(lambda client: client.log_artifacts(self.run_id, str(path), folder or None))
        else:
            self._send(lambda client: client.log_artifact(self.run_id, str(path), folder or None))

    def text(self, text: str, path: str) -> None:
        """Upload a text as the file `path` of the run's artifacts."""
        self._send(lambda client: client.log_text(self.run_id, text, path))

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
            log.warning(_WARNING, "no longer answers", masked(str(error)))


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

    With `tolerant` the body runs without MLflow, after a warning, when its server cannot be reached or stops answering.
    """
    if not tracking_is_on():
        yield Run()
        return
    external = os.environ.get("MLFLOW_RUN_ID", "")
    external, parent = ("", external) if part else (external, "")
    try:
        client = mlflow_client()
        run_id = _existing_run(client, external, run_id) or _new_run(client, experiment, run_name, parent)
    except Exception as error:
        if not tolerant or not _unreachable(error):
            raise
        log.warning(_WARNING, "cannot be reached", masked(str(error)))
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


def _existing_run(client: "MlflowClient", external: str, own: str) -> str:
    if external:
        _check_exists(client, external)
        return external
    try:
        if own:
            _check_exists(client, own)
    except NotFoundError:
        return ""
    return own


def _new_run(client: "MlflowClient", experiment: str, run_name: str, parent: str) -> str:
    if parent:
        _check_exists(client, parent)
        experiment_id, tags = client.get_run(parent).info.experiment_id, {PARENT: parent}
    else:
        experiment_id, tags = _experiment_id(client, experiment), {}
    created = client.create_run(experiment_id, run_name=run_name or None, tags=tags | _origin())
    return str(created.info.run_id)


def _origin() -> dict[str, str]:
    """The tags of who created a run, and from where, as MLflow's own runs have them."""
    on_cluster = "KUBERNETES_SERVICE_HOST" in os.environ
    tags = {"mlflow.source.name": "facet", "mlflow.source.type": "JOB" if on_cluster else "LOCAL"}
    with suppress(OSError, KeyError):  # a user id without a name
        tags["mlflow.user"] = getpass.getuser()
    return tags


def _unreachable(error: Exception) -> bool:
    """Return whether no server answered; an error that it answered is raised to the user."""
    from mlflow.exceptions import MlflowException, RestException

    return isinstance(error, MlflowException | OSError) and not isinstance(error, RestException)


def resume_run(run_id: str) -> Run:
    """Return a run for a later step to log to; its status stays. "" returns a run that logs nothing.

    Raises NotFoundError when tracking is on and the run does not exist.
    """
    if not run_id or not tracking_is_on():
        return Run()
    client = mlflow_client()
    _check_exists(client, run_id)
    return Run(run_id, client)


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
