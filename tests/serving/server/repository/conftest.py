import uuid
from pathlib import Path

import pytest
from model_store import Store

from serving.runtime.storage import make_bucket


@pytest.fixture
def folder_store(tmp_path: Path) -> Store:
    (tmp_path / "models").mkdir()
    return Store(str(tmp_path / "models"), tmp_path / "scratch")


@pytest.fixture
def s3_store(s3: object, tmp_path: Path) -> Store:
    bucket = f"t{uuid.uuid4().hex}"
    make_bucket(bucket)
    return Store(f"s3://{bucket}/some/models", tmp_path / "scratch")


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    """The same test on a folder and on S3."""
    made: Store = request.getfixturevalue(f"{request.param}_store")
    return made
