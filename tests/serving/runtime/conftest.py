import uuid
from pathlib import Path
from typing import Any

import pytest
from stored_files import NAMES

from serving.runtime.storage import Location, make_bucket, upload


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"t{uuid.uuid4().hex}"
    make_bucket(name)
    return name


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    for name, content in NAMES.items():
        file = top / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return top


@pytest.fixture(params=["local", "s3"])
def location(request: pytest.FixtureRequest, tree: Path) -> Location:
    """The same files, once on the disk and once in S3."""
    if request.param == "local":
        return Location(str(tree))
    uri = f"s3://{request.getfixturevalue('bucket')}/some where"
    assert upload(tree, uri) == len(NAMES)
    return Location(uri)
