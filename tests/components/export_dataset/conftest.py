import pytest
from export_samples import photos, store


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return store(tmp_path_factory.mktemp("data"), photos())
