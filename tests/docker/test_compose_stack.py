"""The compose file: everything it names exists, ports on the loopback address only, no secret in it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from docker_files import DOCKER, KUBERNETES
from dotenv import dotenv_values

from pipelines.local.stack import BUCKETS

TEXT = (DOCKER / "compose.yaml").read_text()
EXAMPLE = dotenv_values(DOCKER / ".env.example")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
# The fields of the Compose specification that this file may use.
FIELDS = {
    "build", "cap_drop", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image", "mem_limit",
    "ports", "profiles", "read_only", "restart", "security_opt", "stop_grace_period", "tmpfs", "user", "volumes",
}  # fmt: skip


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> dict[str, Any]:
    return SERVICES[request.param]


def test_fields_are_those_of_the_specification(service: dict[str, Any]) -> None:
    assert set(service) <= FIELDS
    assert set(service["healthcheck"]) <= {"test", "interval", "timeout", "retries", "disable"}


def test_every_variable_is_in_the_example() -> None:
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT))
    assert used == set(EXAMPLE)
    for name, value in EXAMPLE.items():
        required = f"${{{name}:?" in TEXT
        assert required == (not value), f"{name}: secrets, and only they, are required and empty in the example"


def test_the_real_values_are_kept_out_of_git() -> None:
    git = shutil.which("git")
    if git is None or not (DOCKER.parent / ".git").exists():
        pytest.skip("this is not a git checkout")
    for folder in (DOCKER, KUBERNETES / "base" / "storage"):
        assert subprocess.run([git, "-C", folder, "check-ignore", "--quiet", ".env"]).returncode == 0


def test_ports_are_on_the_loopback_address(service: dict[str, Any]) -> None:
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_images_are_pinned(service: dict[str, Any]) -> None:
    image = re.sub(r"\$\{\w+:-(.*)\}", r"\1", service["image"])
    tag = image.rpartition(":")[2]
    assert image.startswith("facet/") or re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-\w+)?", tag), image


def test_containers_have_least_privileges(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]


def test_dependencies_can_be_met(service: dict[str, Any]) -> None:
    for name, how in service.get("depends_on", {}).items():
        needed = SERVICES[name]
        if how["condition"] == "service_healthy":
            assert needed["healthcheck"]["test"][0] == "CMD"
        else:
            assert how["condition"] == "service_completed_successfully" and needed["restart"] == "on-failure"
        assert "profiles" not in needed or needed["profiles"] == service["profiles"]


def test_mounted_files_exist_and_volumes_are_declared(service: dict[str, Any]) -> None:
    declared = yaml.safe_load(TEXT)["volumes"]
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        assert (DOCKER / source).is_file() if source.startswith("./") else source in declared, volume


def test_the_mlflow_image_has_the_pinned_version() -> None:
    lock = (DOCKER.parent / "requirements.lock").read_text()
    recipe = (DOCKER / "compose" / "mlflow.Dockerfile").read_text()
    pinned = dict(re.findall(r"^(mlflow|boto3)==(\S+)", lock, re.MULTILINE))
    for name, version in pinned.items():
        assert f" {name}=={version} " in recipe
    assert SERVICES["mlflow"]["image"] == f"facet/mlflow:{pinned['mlflow']}"
    assert SERVICES["mlflow"]["build"]["dockerfile"] == "mlflow.Dockerfile"


def test_the_dockerfile_is_clean() -> None:
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    result = subprocess.run([hadolint, DOCKER / "compose" / "mlflow.Dockerfile"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def script(name: str) -> str:
    assert SERVICES[name]["entrypoint"] == ["sh", "-euc"]
    (text,) = SERVICES[name]["command"]
    return str(text).replace("$$", "$")


def test_prometheus_gets_the_alerts_of_the_cluster(tmp_path: Path) -> None:
    alerts = KUBERNETES / "base" / "monitoring" / "alerts.yaml"
    text = script("prometheus").replace("/tmp/", f"{tmp_path}/").replace("/etc/prometheus/alerts.yaml", str(alerts))
    subprocess.run(["sh", "-euc", text.partition("exec ")[0]], check=True)
    rules = yaml.safe_load((tmp_path / "alerts.yml").read_text())
    assert rules == yaml.safe_load(alerts.read_text())["spec"]
    config = yaml.safe_load((DOCKER / "compose" / "prometheus.yml").read_text())
    assert config["rule_files"] == ["/tmp/alerts.yml"]
    assert config["scrape_configs"][0]["static_configs"][0]["targets"] == ["serving:8080"]


def test_seaweedfs_gets_the_account(tmp_path: Path) -> None:
    text = script("seaweedfs").partition("exec ")[0].replace("/tmp/", f"{tmp_path}/")
    account = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret/with%and+"}
    subprocess.run(["sh", "-euc", text], check=True, env=os.environ | account)
    (identity,) = yaml.safe_load((tmp_path / "s3.json").read_text())["identities"]
    assert identity["credentials"] == [{"accessKey": "key", "secretKey": "secret/with%and+"}]
    assert "Admin" in identity["actions"]


def test_the_buckets_are_those_of_the_local_stack() -> None:
    (text,) = SERVICES["buckets"]["command"]
    made: list[str] = []
    exec(text.replace("from serving.runtime.storage import make_bucket\n", ""), {"make_bucket": made.append})
    assert sorted(made) == sorted(BUCKETS)
