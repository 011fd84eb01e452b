"""From a table of boxes to crops of 4:3, through every step of the way."""

import io
from pathlib import Path

import numpy as np
import pytest
from face_samples import DataSet, encoded
from PIL import Image as Picture

from components.crop_faces.crop_faces import ANNOTATIONS, crop_faces
from components.shared.dataset.annotations import read_annotations
from components.shared.dataset.archive import ImageArchive

HEIGHT, WIDTH = 200, 300


def ramps() -> np.ndarray:
    """Red tells the column of a pixel, green its row."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 255 / WIDTH, y * 255 / HEIGHT, np.zeros_like(x)], axis=2).round().astype(np.uint8)


def test_boxes_of_a_table_become_crops_of_384_x_288(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text(
        "path,s_X,s_Y,e_X,e_Y\n/home/other/inside.png,100,60,160,150\n/home/other/border.png,260,150,340,230\n"
    )
    data = DataSet(tmp_path, {name: encoded(ramps()) for name in ("inside.png", "border.png")})
    chosen = data.choose(data.detect({"table": str(tmp_path / "boxes.csv")}))
    assert {image.file_name: [face.box for face in image.faces] for image in chosen.images} == {
        "inside.png": [(100, 60, 60, 90)],
        "border.png": [(260, 150, 40, 50)],  # 300 wide and 200 high
    }
    options = {"aspect": 4 / 3, "scale": 1.2, "height": 384, "width": 288}
    crop_faces(data.images, tmp_path / "chosen.json", tmp_path / "crops", options)
    crops = {image.file_name: image for image in read_annotations(tmp_path / "crops" / ANNOTATIONS).images}
    archive = ImageArchive(tmp_path / "crops")
    rects = {
        "inside.png": (89.5, 51, 170.5, 159),  # 67.5 x 90 around the box, times 1.2
        "border.png": (256, 143, 300, 200),  # 48 x 64, clipped to the photo
    }
    assert crops.keys() == rects.keys()
    for name, (left, top, right, bottom) in rects.items():
        pixels = np.asarray(Picture.open(io.BytesIO(archive.read(name, crops[name].sha256))).convert("RGB"))
        assert pixels.shape == (384, 288, 3) and (crops[name].height, crops[name].width) == (384, 288)
        x = (left + (np.arange(288) + 0.5) * (right - left) / 288 - 0.5) * 255 / WIDTH
        y = (top + (np.arange(384) + 0.5) * (bottom - top) / 384 - 0.5) * 255 / HEIGHT
        np.testing.assert_allclose(pixels[:, :, 0], np.broadcast_to(x, (384, 288)), atol=1.1)
        np.testing.assert_allclose(pixels[:, :, 1], np.broadcast_to(y[:, None], (384, 288)), atol=1.1)
        box, scales = crops[name].faces[0].box, (288 / (right - left), 384 / (bottom - top))
        (original,) = next(image.faces for image in chosen.images if image.file_name == name)
        assert box is not None and original.box is not None
        assert box[:2] == pytest.approx(((original.box[0] - left) * scales[0], (original.box[1] - top) * scales[1]))
        assert box[2:] == pytest.approx((original.box[2] * scales[0], original.box[3] * scales[1]))
