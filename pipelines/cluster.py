"""Submitting the pipeline to a Kubeflow Pipelines cluster, and waiting for a run."""

import contextlib
import io
import json
import os
import ssl
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from pipelines.config import ClassificationConfig
from pipelines.errors import ClusterError
from pipelines.sample_source import SAMPLES, put_sample
from pipelines.settings import Settings
from serving.runtime.errors import InputError, StorageError
from serving.runtime.storage import Location, digest, is_s3

ENDED = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED", "CANCELING")
POLL_SECONDS = 5.0
PATIENCE_SECONDS = 300.0
"""How long a wait goes on while the cluster does not answer."""


def submit(
    config: ClassificationConfig,
    settings: Settings,
    *,
    name: str,
    experiment: str,
    wait: bool,
    show: Callable[[str], None] = print,
) -> None:
    """Creates a run on the cluster and shows its address.

    The digest of the source's listing goes with it when the source can be read from here: then a source that has not
    changed may come from the cluster's cache. Otherwise it is read anew.

    Raises:
        InputError: when `KFP_HOST` is not set.
        ClusterError: when the cluster cannot be reached or refuses, or the run that was waited for did not succeed.
    """
    if not settings.kfp_host:
        raise InputError("KFP_HOST is not set: export the address of Kubeflow Pipelines, or use `facet run`")
    client = connect(settings)
    source_digest = config.source_digest or _source_digest(config.source, show)
    parameters = {**config.model_dump(), "source_digest": source_digest}
    specification = _specification(settings, cache_ingest=bool(source_digest))
    show(f"images  {', '.join(_images(specification))}")
    title = f"{name} {datetime.now():%Y-%m-%d %H:%M:%S}"
    with _explained(settings), TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        package = Path(folder, "pipeline.yaml")
        package.write_text(yaml.safe_dump_all(specification, sort_keys=False), encoding="utf-8")
        namespace = settings.kfp_namespace or None
        group = client.create_experiment(experiment, namespace=namespace)
        run = client.run_pipeline(group.experiment_id, title, pipeline_package_path=str(package), params=parameters)
    show(f"run     {_host(settings)}/#/runs/details/{run.run_id}")
    if wait:
        wait_for_run(client, settings, run.run_id, show=show)


def connect(settings: Settings) -> Any:
    """The one place that makes a `kfp.Client`, after one request that shows whether the settings are right.

    Raises:
        ClusterError: when the host cannot be reached, its certificate is not trusted, or the token is refused.
    """
    if settings.kfp_ca_cert and not Path(settings.kfp_ca_cert).is_file():
        raise ClusterError(f"KFP_CA_CERT: {settings.kfp_ca_cert} is no file")
    _check(settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kfp

        # "kubeflow" is the client's way to say that no namespace is named.
        return kfp.Client(
            host=_host(settings),
            namespace=settings.kfp_namespace or "kubeflow",
            existing_token=settings.kfp_token or None,
            ssl_ca_cert=settings.kfp_ca_cert or None,
        )


def wait_for_run(client: Any, settings: Settings, run_id: str, *, show: Callable[[str], None] = print) -> None:
    """Waits until a run has ended in whatever way, cancelled included; shows every change of its state.

    Raises:
        ClusterError: unless the run has succeeded; names the tasks that failed.
    """
    import kfp_server_api
    import urllib3

    state, heard = "", time.monotonic()
    while state not in ENDED:
        try:
            run = client.get_run(run_id)
        except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError) as error:
            status = getattr(error, "status", None)
            if (status is not None and status < 500) or time.monotonic() - heard > PATIENCE_SECONDS:
                raise _explanation(settings, error) from error
        else:
            heard = time.monotonic()
            if run.state and run.state != state:
                state = run.state
                show(f"        {datetime.now():%H:%M:%S} {state}")
        if state not in ENDED:
            time.sleep(POLL_SECONDS)
    if state != "SUCCEEDED":
        raise ClusterError(f"the run ended as {state}{_failures(run)}")


def _source_digest(source: str, show: Callable[[str], None]) -> str:
    """The digest of the listing, "" when the source cannot be read from here."""
    if not is_s3(source):
        show(f"source  {source} is a path: the ingest step reads it on the cluster, and reads it anew")
        return ""
    try:
        if source in SAMPLES:
            put_sample(source, show=show)
        value = digest(Location(source))
    except StorageError as error:
        show(f"source  cannot be read from here, so the cluster reads it anew ({error})")
        return ""
    show(f"source  {source}, digest {value[:12]}")
    return value


def _specification(settings: Settings, *, cache_ingest: bool) -> list[dict[str, Any]]:
    """The documents of the IR with the images of this machine; `ingest` may be cached when its digest is known."""
    images = settings.home / "images.json"
    if images.exists():
        for name, reference in json.loads(images.read_text()).items():
            os.environ.setdefault(name, reference)
    from pipelines.intermediate import compile_pipeline

    documents: list[dict[str, Any]] = list(yaml.safe_load_all(compile_pipeline()))
    if cache_ingest:
        documents[0]["root"]["dag"]["tasks"]["ingest"]["cachingOptions"] = {"enableCache": True}
    return documents


def _images(specification: list[dict[str, Any]]) -> list[str]:
    executors = specification[0]["deploymentSpec"]["executors"].values()
    return sorted({executor["container"]["image"] for executor in executors})


def _host(settings: Settings) -> str:
    host = settings.kfp_host.rstrip("/")
    return host if host.startswith(("http://", "https://")) else f"https://{host}"


def _check(settings: Settings) -> None:
    try:
        context = ssl.create_default_context(cafile=settings.kfp_ca_cert or None)
    except ssl.SSLError as error:
        raise ClusterError(f"KFP_CA_CERT: {settings.kfp_ca_cert} is no certificate in PEM form") from error
    request = urllib.request.Request(f"{_host(settings)}/apis/v2beta1/healthz")
    if settings.kfp_token:
        request.add_header("Authorization", f"Bearer {settings.kfp_token}")
    try:
        with urllib.request.urlopen(request, timeout=15, context=context) as answer:
            kind = answer.headers.get_content_type()
    except (OSError, ValueError) as error:
        raise _explanation(settings, error) from error
    if kind != "application/json":
        raise ClusterError(
            f"KFP_HOST {_host(settings)} answers with {kind}, not with the Pipelines API: "
            "add the path (often /pipeline), or set KFP_TOKEN where a login page stands before it"
        )


@contextlib.contextmanager
def _explained(settings: Settings) -> Iterator[None]:
    import kfp_server_api
    import urllib3

    try:
        yield
    except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError) as error:
        raise _explanation(settings, error) from error


def _explanation(settings: Settings, error: Exception) -> ClusterError:
    """What went wrong in words, from the errors of urllib, urllib3 and the API's client."""
    host = _host(settings)
    status = error.code if isinstance(error, urllib.error.HTTPError) else getattr(error, "status", None)
    if status == 401:
        return ClusterError(f"{host}: not logged in (401): set KFP_TOKEN to a token that has not expired")
    if status == 403:
        where = (
            f" in the namespace {settings.kfp_namespace}" if settings.kfp_namespace else ": set KFP_NAMESPACE to yours"
        )
        return ClusterError(f"{host}: the token in KFP_TOKEN may not do this (403){where}")
    if status:
        return ClusterError(f"{host}: the cluster refused ({status}): {_message(error)}")
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return ClusterError(f"{host}: its certificate is not trusted: set KFP_CA_CERT to the authority's PEM file")
    return ClusterError(f"KFP_HOST {host} cannot be reached: {reason}")


def _message(error: Exception) -> str:
    body = getattr(error, "body", None) or getattr(error, "reason", None) or str(error)
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        return str(json.loads(body)["message"])
    return " ".join(str(body).split())[:300]


def _failures(run: Any) -> str:
    """The failed tasks of a run with their messages, for the end of a sentence."""
    tasks = (run.run_details.task_details or []) if run.run_details else []
    failed = [
        f"{task.display_name} ({task.error.message if task.error else 'no message'})"
        for task in tasks
        if task.state == "FAILED"
    ]
    reason = f": {run.error.message}" if run.error and run.error.message else ""
    return reason + (f"; failed: {', '.join(failed)}" if failed else "")
