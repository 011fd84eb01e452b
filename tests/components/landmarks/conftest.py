import pytest
from drawn_landmarks import EYE_CORNERS_AND_NOSE, train


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return train(tmp_path_factory.mktemp("weights") / "shape_predictor_68_drawn.dat", list(range(68)))


@pytest.fixture(scope="session")
def weights_5(tmp_path_factory):
    return train(tmp_path_factory.mktemp("weights") / "shape_predictor_5_drawn.dat", EYE_CORNERS_AND_NOSE)
