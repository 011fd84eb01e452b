from pathlib import Path

import pytest
from foreign_detectors import yunet

from components.export_onnx.adopt import adopt
from serving.runtime.errors import InputError, StorageError
from serving.runtime.load import load_model


def test_a_folder_with_the_detector_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    weights = tmp_path / "weights.onnx"
    weights.write_bytes(yunet())
    result = adopt(str(weights), tmp_path / "model", name="faces")
    model = load_model(str(tmp_path / "model"))
    assert (model.name, model.sha256, result.kind) == ("faces", result.sha256, "yunet")
    weights.write_bytes(yunet(heads=2))
    with pytest.raises(InputError, match="not a detector that is known"):
        adopt(str(weights), tmp_path / "other", name="faces")
    assert not (tmp_path / "other").exists()


def test_weights_that_are_missing_are_one_error_with_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(
        StorageError, match="missing.onnx: there is no such file or folder; expected one of: YuNet .*libfacedetection"
    ):
        adopt(str(tmp_path / "missing.onnx"), tmp_path / "model", name="faces")
