"""Settings from the environment and a `.env` file."""

from pathlib import Path

import pytest

from pipelines.environment.settings import Settings, load_settings

NAMES = ("FACET_HOME", "SM_MODEL_DIR", "FACET_RESOURCES", "KFP_HOST", "KFP_NAMESPACE", "KFP_TOKEN", "KFP_CA_CERT")


@pytest.mark.parametrize(
    ("environment", "home", "runs"),
    [
        ({}, ".facet", ".facet/runs"),
        ({"FACET_HOME": "/a"}, "/a", "/a/runs"),
        ({"FACET_HOME": "/a", "SM_MODEL_DIR": "/b"}, "/a", "/b"),
        ({"SM_MODEL_DIR": "./model.v1"}, ".facet", "model.v1"),
        ({"FACET_HOME": "", "SM_MODEL_DIR": ""}, ".facet", ".facet/runs"),
    ],
)
def test_folders(environment: dict[str, str], home: str, runs: str) -> None:
    settings = Settings.from_environment(environment)
    assert (settings.home, settings.runs) == (Path(home), Path(runs))


def test_the_environment_overrides_the_dotenv_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        # Set and deleted, so that what the file brings in is taken back at the end.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("KFP_HOST", "http://environment")
    (tmp_path / ".env").write_text("KFP_HOST=http://file\nKFP_NAMESPACE=file\nFACET_RESOURCES='a b'\n# a comment\n")
    settings = load_settings(tmp_path)
    assert (settings.kfp_host, settings.kfp_namespace, settings.resources) == ("http://environment", "file", "a b")
    assert load_settings(tmp_path / "elsewhere").kfp_namespace == "file", "the steps inherit what the file said"


def test_the_token_is_not_in_the_repr() -> None:
    assert "s3cret" not in repr(Settings.from_environment({"KFP_TOKEN": "s3cret"}))
