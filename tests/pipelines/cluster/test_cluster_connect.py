"""Connection to a server: credentials, certificate, and the errors of a server that cannot be used."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from kfp_stand_in import TOKEN, StandIn, serve

from pipelines.cluster import connect as connect_module
from pipelines.cluster.connect import connect
from pipelines.cluster.runs import newest
from pipelines.environment.errors import ClusterError
from pipelines.environment.settings import Settings
from serving.runtime.errors import InputError

Make = Callable[..., Settings]


def test_a_token_opens(stand_in: StandIn, cluster_settings: Make) -> None:
    cluster = connect(cluster_settings())
    assert (cluster.version, cluster.namespace) == ("2.17.0", "team-a")
    assert list(newest(cluster)) == ["no run yet"]


def test_a_token_file_is_read_for_every_request(stand_in: StandIn, cluster_settings: Make, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    cluster = connect(cluster_settings(KFP_TOKEN="", KF_PIPELINES_SA_TOKEN_PATH=str(file)))
    stand_in.tokens = {"renewed"}
    with pytest.raises(ClusterError, match=r"not logged in \(401\): the token in .*token has expired"):
        list(newest(cluster))
    file.write_text("renewed")
    assert list(newest(cluster)) == ["no run yet"]
    file.unlink()
    with pytest.raises(ClusterError, match=r"KF_PIPELINES_SA_TOKEN_PATH: .*token cannot be read: No such file"):
        list(newest(cluster))


def test_the_token_that_kubernetes_projects_into_a_pod_is_found(
    stand_in: StandIn, cluster_settings: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "namespace").write_text("team-b")
    monkeypatch.setattr("pipelines.environment.settings.PROJECTED_TOKEN", tmp_path / "token")
    monkeypatch.setattr(connect_module, "POD_NAMESPACE", tmp_path / "namespace")
    assert connect(cluster_settings(KFP_TOKEN="", KFP_NAMESPACE="")).namespace == "team-b"


def test_cookies_open(stand_in: StandIn, cluster_settings: Make) -> None:
    stand_in.cookie = "authservice_session=abc"
    assert connect(cluster_settings(KFP_TOKEN="", KFP_COOKIES="authservice_session=abc")).version == "2.17.0"
    with pytest.raises(ClusterError, match=r"\(401\): the session in KFP_COOKIES has expired"):
        connect(cluster_settings(KFP_TOKEN="", KFP_COOKIES="authservice_session=old"))


def test_connected_through_the_web_interface(stand_in: StandIn, cluster_settings: Make) -> None:
    stand_in.health = {"apiServerTagName": "2.15.2", "apiServerMultiUser": False, "multi_user": False}
    cluster = connect(cluster_settings(KFP_NAMESPACE="", KF_PIPELINES_UI_ENDPOINT="https://kubeflow.example/pipeline/"))
    assert (cluster.version, cluster.scope) == ("2.15.2", {})
    assert cluster.page("runs/details/1") == "https://kubeflow.example/pipeline/#/runs/details/1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"KFP_HOST": "http://127.0.0.1:9"}, r"KFP_HOST http://127\.0\.0\.1:9 cannot be reached: .*refused"),
        ({"KFP_HOST": "http://no.such.host.invalid"}, r"KFP_HOST http://no\.such.* cannot be reached: "),
        ({"KFP_TOKEN": "wrong"}, r"\(401\): the token in KFP_TOKEN has expired or is for another server"),
        ({"KFP_TOKEN": ""}, r"\(401\): set KFP_TOKEN, KFP_COOKIES or KF_PIPELINES_SA_TOKEN_PATH"),
        ({"KFP_CA_CERT": "/nowhere"}, r"KFP_CA_CERT: /nowhere is not a file"),
        ({"KFP_CA_CERT": __file__}, r"KFP_CA_CERT: .* is not a certificate in PEM format"),
    ],
)
def test_a_wrong_setting(cluster_settings: Make, changes: dict[str, str], message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        connect(cluster_settings(**changes))


def test_settings_that_are_missing(stand_in: StandIn, cluster_settings: Make) -> None:
    with pytest.raises(InputError, match="KFP_HOST is not set.*facet run"):
        connect(cluster_settings(KFP_HOST=""))
    with pytest.raises(InputError, match="KFP_HOST holds a user or a password: leave them out") as caught:
        connect(cluster_settings(KFP_HOST="https://me:hidden@kubeflow.example"))
    assert "hidden" not in str(caught.value)
    with pytest.raises(InputError, match="KFP_NAMESPACE is not set: .* has several users"):
        connect(cluster_settings(KFP_NAMESPACE=""))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (403, r"the token in KFP_TOKEN lacks the permission \(403\) in the namespace team-a"),
        (500, r"the cluster rejected the request \(500\): the stand-in says no"),
        ("login", r"redirects to https://dex\.example/auth, a login page: the token in KFP_TOKEN has expired"),
        ("page", r"responds with text/html, not with the Pipelines API: add the path \(often /pipeline\)"),
        ("garbage", "responds with broken JSON, not with the Pipelines API"),
        ("hang", "accepted the request and does not respond"),
        ("drop", "cannot be reached"),
    ],
)
def test_a_server_that_misbehaves(
    stand_in: StandIn, cluster_settings: Make, monkeypatch: pytest.MonkeyPatch, fault: object, message: str
) -> None:
    monkeypatch.setattr(connect_module, "TIMEOUT_SECONDS", (1.0, 0.2))
    # Both versions of the API are asked; no fault is made up for by asking again.
    stand_in.faults = [fault, fault]
    with pytest.raises(ClusterError, match=message):
        connect(cluster_settings())


@pytest.mark.parametrize("tag", ["1.8.22", "v2.0.5", "2.5.0", "2.14.6"])
def test_a_server_that_is_too_old(stand_in: StandIn, cluster_settings: Make, tag: str) -> None:
    stand_in.health = {"tag_name": tag, "multi_user": False}
    with pytest.raises(ClusterError, match=f"is Kubeflow Pipelines {tag}: this pipeline needs 2.15 or newer"):
        connect(cluster_settings())


@pytest.mark.parametrize("tag", ["2.15.0", "2.17.3", "3.0.1", "unknown", "master"])
def test_a_server_that_is_new_enough_or_does_not_say(stand_in: StandIn, cluster_settings: Make, tag: str) -> None:
    stand_in.health = {"tag_name": tag, "multi_user": False}
    assert connect(cluster_settings()).version == (tag if tag[0].isdigit() else "")


def test_a_server_of_version_1(stand_in: StandIn, cluster_settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    old = StandIn.answer

    def answer(self: StandIn, method: str, path: str, query: dict[str, str], body: object) -> object:
        if path == "/apis/v1beta1/healthz":
            return {"tag_name": "1.8.5", "multi_user": False}
        return old(self, method, path.replace("v2beta1", "none"), query, body)

    monkeypatch.setattr(StandIn, "answer", answer)
    with pytest.raises(ClusterError, match="is Kubeflow Pipelines 1.8.5: this pipeline needs 2.15"):
        connect(cluster_settings())


def test_a_private_certificate(cluster_settings: Make, tmp_path: Path) -> None:
    key, public, both = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "both.pem"
    subject = ["-subj", "/CN=stand-in", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", key, "-out", public], check=True, capture_output=True)
    both.write_text(key.read_text() + public.read_text())
    with serve(StandIn(), both) as secure:
        with pytest.raises(ClusterError, match=r"certificate is not trusted: set KFP_CA_CERT"):
            connect(cluster_settings(KFP_HOST=secure.url))
        assert connect(cluster_settings(KFP_HOST=secure.url, KFP_CA_CERT=str(public))).version == "2.17.0"


def test_no_credential_is_shown(cluster_settings: Make) -> None:
    settings = cluster_settings(KFP_COOKIES="a-cookie")
    assert TOKEN not in repr(settings)
    assert "a-cookie" not in repr(connect(settings))
