import pytest
from mlflow_registry import MlflowServer


@pytest.fixture
def mlflow(mlflow_url: str, monkeypatch: pytest.MonkeyPatch) -> MlflowServer:
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    return MlflowServer(mlflow_url)
