"""Fixtures of the tests that talk to a cluster."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from clean_environment import clean_environment
from kfp_stand_in import TOKEN, StandIn, serve

from pipelines.environment.settings import Settings
from pipelines.intermediate import IMAGE_VARIABLES, compile_pipeline
from pipelines.resources import Site


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a module's runs and servers keep their files, in an environment that says nothing of them."""
    with patch.dict(os.environ, clean_environment(), clear=True):
        yield tmp_path_factory.mktemp("facet") / ".facet"


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with serve(StandIn()) as state:
        yield state


def compiled(pipeline: str, site: Site | None = None, texts: dict[tuple[str, str], str] = {}) -> str:  # noqa: B006
    """What `compile_pipeline` gives, kept by name and site."""
    key = pipeline, site.model_dump_json() if site else ""
    if key not in texts:
        texts[key] = compile_pipeline(pipeline, site)
    return texts[key]


@pytest.fixture
def cluster_settings(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Settings for the stand-in; no proxy, no images of somebody else, and no waiting or compiling twice."""
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    for name in (*IMAGE_VARIABLES, *proxies, "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.setattr("pipelines.cluster.runs.POLL_SECONDS", 0.01)
    monkeypatch.setattr("pipelines.intermediate.compile_pipeline", compiled)

    def settings(**changes: str) -> Settings:
        environment = {
            "FACET_HOME": str(tmp_path / "home"),
            "KFP_HOST": stand_in.url,
            "KFP_NAMESPACE": "team-a",
            "KFP_TOKEN": TOKEN,
        }
        return Settings.from_environment({**environment, **changes})

    return settings
