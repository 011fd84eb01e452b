"""Submission, against a small stand-in of the Pipelines API on the loopback address that answers with its models."""

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import kfp_server_api as api
import pytest
import yaml

from pipelines import cluster
from pipelines.config import ClassificationConfig
from pipelines.errors import ClusterError
from pipelines.intermediate import COMMITTED
from pipelines.settings import Settings
from serving.runtime.errors import InputError

TOKEN = "a-token"


@dataclass
class StandIn:
    """What the stand-in has been asked, and the states that its run goes through."""

    url: str = ""
    states: list[str] = field(default_factory=lambda: ["PENDING", "RUNNING", "SUCCEEDED"])
    statuses: list[int] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    namespaces: list[str] = field(default_factory=list)
    content_type: str = "application/json"

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Any:
        self.namespaces += query.get("namespace", [])
        if path == "/apis/v2beta1/healthz":
            return api.V2beta1GetHealthzResponse(multi_user=True)
        if path == "/apis/v2beta1/experiments" and method == "GET":
            return api.V2beta1ListExperimentsResponse(experiments=[])
        if path == "/apis/v2beta1/experiments":
            self.experiments.append(body)
            return api.V2beta1Experiment(experiment_id="exp-1", display_name=body["display_name"])
        if path == "/apis/v2beta1/runs":
            self.runs.append(body)
            return api.V2beta1Run(run_id="run-1", display_name=body["display_name"], state="PENDING")
        if path == "/apis/v2beta1/runs/run-1":
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            tasks = [
                api.V2beta1PipelineTaskDetail(
                    display_name="Train", state="FAILED", error=api.GoogleRpcStatus(message="out of memory")
                )
            ]
            details = api.V2beta1RunDetails(task_details=tasks if state == "FAILED" else [])
            return api.V2beta1Run(run_id="run-1", state=state, run_details=details)
        raise AssertionError(f"the client asked for {method} {path}")


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    yield from serve(StandIn())


def serve(state: StandIn, certificate: Path | None = None) -> Iterator[StandIn]:
    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            url = urlparse(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status = state.statuses.pop(0) if state.statuses else 200
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status = 401
            answer: Any = {"message": "the stand-in says no"}
            if status == 200:
                model = state.answer(self.command, url.path, parse_qs(url.query), body)
                answer = api.ApiClient().sanitize_for_serialization(model)
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", state.content_type)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = respond  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scheme = "http"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    state.url = f"{scheme}://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, no images of somebody else, and no waiting."""
    for name in ("FACET_IMAGE_DATA", "FACET_IMAGE_TRAIN", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cluster, "POLL_SECONDS", 0.01)


def settings(home: Path, host: str, *, token: str = TOKEN, ca_cert: str = "", namespace: str = "team-a") -> Settings:
    return Settings.from_environment(
        {
            "FACET_HOME": str(home),
            "KFP_HOST": host,
            "KFP_NAMESPACE": namespace,
            "KFP_TOKEN": token,
            "KFP_CA_CERT": ca_cert,
        }
    )


def submit(
    home: Path, host: str, *, config: ClassificationConfig | None = None, wait: bool = False, **changes: str
) -> str:
    lines: list[str] = []
    cluster.submit(
        config or ClassificationConfig(source="/data/faces"),
        settings(home, host, **changes),
        name="classification",
        experiment="facet",
        wait=wait,
        show=lines.append,
    )
    return "\n".join(lines)


def test_creates_the_run_and_shows_its_address(stand_in: StandIn, tmp_path: Path) -> None:
    config = ClassificationConfig(source="/data/faces", epochs=3, floors={"macro_f1": 0.5}, training={"warmup": 0.1})
    said = submit(tmp_path, stand_in.url, config=config)
    assert f"{stand_in.url}/#/runs/details/run-1" in said
    (run,) = stand_in.runs
    assert run["experiment_id"] == "exp-1"
    assert run["display_name"].startswith("classification 20")
    parameters = run["runtime_config"]["parameters"]
    assert parameters == {**config.model_dump(), "source_digest": ""}
    assert stand_in.experiments[0]["namespace"] == "team-a"
    assert set(stand_in.namespaces) == {"team-a"}
    assert TOKEN not in said


def test_submits_the_committed_pipeline_with_the_images_of_this_machine(stand_in: StandIn, tmp_path: Path) -> None:
    said = submit(tmp_path, stand_in.url)
    specification = stand_in.runs[0]["pipeline_spec"]
    spec = specification.get("pipeline_spec", specification)
    committed = next(yaml.safe_load_all(COMMITTED.read_text()))
    assert spec["root"]["dag"]["tasks"] == committed["root"]["dag"]["tasks"]
    assert "platform_spec" in specification or "platforms" in json.dumps(specification)
    assert "facet/data:latest, facet/train:latest" in said


def test_ingest_is_cached_only_with_a_digest(stand_in: StandIn, tmp_path: Path) -> None:
    submit(tmp_path, stand_in.url)
    submit(tmp_path, stand_in.url, config=ClassificationConfig(source="/data/faces", source_digest="abc"))
    caching = []
    for run in stand_in.runs:
        spec = run["pipeline_spec"].get("pipeline_spec", run["pipeline_spec"])
        tasks = spec["root"]["dag"]["tasks"]
        caching.append(tasks["ingest"]["cachingOptions"])
        assert tasks["register"]["cachingOptions"] == {}
    assert caching == [{}, {"enableCache": True}]
    assert stand_in.runs[1]["runtime_config"]["parameters"]["source_digest"] == "abc"


@pytest.mark.parametrize(
    ("states", "fails"),
    [
        (["PENDING", "RUNNING", "RUNNING", "SUCCEEDED"], None),
        (["RUNNING", "FAILED"], r"ended as FAILED; failed: Train \(out of memory\)"),
        (["RUNNING", "CANCELED"], "ended as CANCELED"),
        (["RUNNING", "CANCELING"], "ended as CANCELING"),
        (["SKIPPED"], "ended as SKIPPED"),
    ],
)
def test_waiting_ends_with_every_end(stand_in: StandIn, tmp_path: Path, states: list[str], fails: str | None) -> None:
    stand_in.states = states
    if fails:
        with pytest.raises(ClusterError, match=fails):
            submit(tmp_path, stand_in.url, wait=True)
    else:
        said = submit(tmp_path, stand_in.url, wait=True)
        assert said.count("RUNNING") == 1
        assert said.endswith("SUCCEEDED")


def test_a_hiccup_of_the_cluster_does_not_end_the_wait(stand_in: StandIn, tmp_path: Path) -> None:
    client = cluster.connect(settings(tmp_path, stand_in.url))
    stand_in.statuses = [503, 502]
    cluster.wait_for_run(client, settings(tmp_path, stand_in.url), "run-1")
    assert stand_in.statuses == []


def test_a_token_that_expires_ends_the_wait(stand_in: StandIn, tmp_path: Path) -> None:
    client = cluster.connect(settings(tmp_path, stand_in.url))
    stand_in.statuses = [401]
    with pytest.raises(ClusterError, match="set KFP_TOKEN to a token that has not expired"):
        cluster.wait_for_run(client, settings(tmp_path, stand_in.url), "run-1")


def test_clear_errors(stand_in: StandIn, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"KFP_HOST is not set.*facet run"):
        submit(tmp_path, "")
    with pytest.raises(ClusterError, match=r"KFP_HOST http://127\.0\.0\.1:9 cannot be reached: .*refused"):
        submit(tmp_path, "http://127.0.0.1:9")
    with pytest.raises(ClusterError, match=r"not logged in \(401\): set KFP_TOKEN"):
        submit(tmp_path, stand_in.url, token="wrong")
    with pytest.raises(ClusterError, match=r"KFP_CA_CERT: /nowhere is no file"):
        submit(tmp_path, stand_in.url, ca_cert="/nowhere")
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ClusterError, match=r"KFP_CA_CERT: .*ca\.pem is no certificate"):
        submit(tmp_path, stand_in.url, ca_cert=str(tmp_path / "ca.pem"))
    stand_in.statuses = [403]
    with pytest.raises(ClusterError, match=r"\(403\) in the namespace team-a"):
        submit(tmp_path, stand_in.url)
    stand_in.statuses = [200, 200, 403]
    with pytest.raises(ClusterError, match=r"\(403\): set KFP_NAMESPACE"):
        submit(tmp_path, stand_in.url, namespace="")
    stand_in.statuses = [200, 200, 200, 400]
    with pytest.raises(ClusterError, match=r"refused \(400\): the stand-in says no"):
        submit(tmp_path, stand_in.url)
    stand_in.content_type = "text/html"
    with pytest.raises(ClusterError, match=r"answers with text/html.*/pipeline"):
        submit(tmp_path, stand_in.url)
    assert stand_in.runs == []


@pytest.fixture
def certificate(tmp_path: Path) -> Callable[[], tuple[Path, Path]]:
    def make() -> tuple[Path, Path]:
        key, public, both = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "both.pem"
        subject = ["-subj", "/CN=stand-in", "-addext", "subjectAltName=IP:127.0.0.1"]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
        subprocess.run([*command, "-keyout", key, "-out", public], check=True, capture_output=True)
        both.write_text(key.read_text() + public.read_text())
        return public, both

    return make


def test_a_certificate_of_ones_own(certificate: Callable[[], tuple[Path, Path]], tmp_path: Path) -> None:
    public, both = certificate()
    server = serve(StandIn(), both)
    stand_in = next(server)
    try:
        with pytest.raises(ClusterError, match=r"certificate is not trusted: set KFP_CA_CERT"):
            submit(tmp_path, stand_in.url)
        assert "run-1" in submit(tmp_path, stand_in.url, ca_cert=str(public))
    finally:
        next(server, None)
