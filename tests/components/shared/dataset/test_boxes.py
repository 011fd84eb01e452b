import pytest

from components.shared.dataset.annotations import Keypoint
from components.shared.dataset.boxes import overlap, upright_box, upright_keypoint
from serving.runtime.image.header import Header, read_header
from serving.runtime.plausible import clip_box


@pytest.mark.parametrize(
    ("box", "clipped", "beyond"),
    [
        ((1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 3.0, 4.0), -1.0),
        ((-1.0, 2.0, 3.0, 4.0), (0.0, 2.0, 2.0, 4.0), 1.0),
        ((5.0, 6.0, 9.0, 9.0), (5.0, 6.0, 5.0, 4.0), 5.0),
        ((10.0, 0.0, 1.0, 1.0), None, 1.0),
        ((5.0, 5.0, -1.0, 2.0), None, -3.0),
    ],
)
def test_a_box_is_clipped_to_its_image(box, clipped, beyond):
    assert clip_box(box, height=10, width=10) == (clipped, beyond)


def test_boxes_and_keypoints_turn_with_their_photo(turned_header):
    box = upright_box((0.0, 0.0, 4.0, 2.0), turned_header)
    assert box[2:] == (2.0, 4.0)
    corner = upright_keypoint(Keypoint(0.0, 0.0, 2), turned_header)
    assert (corner.x, corner.y) in {(box[0], box[1]), (box[0] + 2.0, box[1]), (box[0], box[1] + 4.0)}
    assert upright_keypoint(Keypoint(0.0, 0.0, 0), turned_header) == Keypoint(0.0, 0.0, 0)


@pytest.fixture
def turned_header() -> Header:
    import io

    from PIL import Image

    picture, exif = Image.new("RGB", (40, 30)), Image.Exif()
    exif[0x0112] = 6
    data = io.BytesIO()
    picture.save(data, "JPEG", exif=exif)
    return read_header(data.getvalue(), 10**6)


def test_the_overlap_is_the_intersection_over_the_union():
    assert overlap((0.0, 0.0, 2.0, 2.0), (0.0, 0.0, 2.0, 2.0)) == 1.0
    assert overlap((0.0, 0.0, 2.0, 2.0), (1.0, 0.0, 2.0, 2.0)) == pytest.approx(1 / 3)
    assert overlap((0.0, 0.0, 1.0, 1.0), (2.0, 2.0, 1.0, 1.0)) == 0.0
