"""Detection around the graph: letterbox, tiles, candidates, non-maximum suppression."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from serving.runtime.card import DetectionThresholds, InputSize, Letterbox
from serving.runtime.detection import (
    MAX_CANDIDATES,
    MAX_TILES,
    Candidates,
    candidates,
    choose,
    corners,
    letterbox,
    pairwise_iou,
    tiles,
)
from serving.runtime.errors import InputError

SIZE = InputSize(height=240, width=320)


@given(
    st.integers(1, 9000),
    st.integers(1, 9000),
    st.sampled_from(["center", "top_left"]),
    st.sampled_from([None, 1, 16]),
)
def test_a_letterbox_keeps_the_aspect_ratio_and_maps_its_corners_back(
    height: int, width: int, position: str, stride: int | None
) -> None:
    rule = Letterbox(position=position, stride=stride)  # type: ignore[arg-type]
    place = letterbox((0, 0, width, height), rule, SIZE)
    x, y, target_width, target_height = place.target
    scale = min(240 / height, 320 / width)
    if stride:
        scale = min(scale, 1)
        assert not place.size[0] % stride and not place.size[1] % stride
        assert place.size[0] - target_height < stride and place.size[1] - target_width < stride
    else:
        assert place.size == (240, 320)
    assert abs(target_width - max(1, width * scale)) <= 0.5 and abs(target_height - max(1, height * scale)) <= 0.5
    assert 0 <= x <= place.size[1] - target_width and 0 <= y <= place.size[0] - target_height
    assert (x, y) == (0, 0) or position == "center"
    corners = np.array([[x, y], [x + target_width, y + target_height]], np.float32)
    np.testing.assert_allclose(place.to_photo(corners), [[0, 0], [width, height]], rtol=1e-6, atol=1e-3)


@given(st.integers(1, 9000), st.integers(1, 9000), st.sampled_from(["center", "top_left"]))
def test_a_letterbox_that_enlarges_fills_a_side_of_the_largest_input(height: int, width: int, position: str) -> None:
    rule = Letterbox(position=position, stride=16, enlarge=True)  # type: ignore[arg-type]
    place = letterbox((0, 0, width, height), rule, SIZE)
    x, y, target_width, target_height = place.target
    scale = min(240 / height, 320 / width)
    assert target_width == 320 or target_height == 240
    assert abs(target_width - max(1, width * scale)) <= 0.5 and abs(target_height - max(1, height * scale)) <= 0.5
    assert not place.size[0] % 16 and not place.size[1] % 16
    assert 0 <= place.size[0] - target_height < 16 and 0 <= place.size[1] - target_width < 16
    ends = np.array([[x, y], [x + target_width, y + target_height]], np.float32)
    np.testing.assert_allclose(place.to_photo(ends), [[0, 0], [width, height]], rtol=1e-6, atol=1e-3)


@given(st.integers(1, 9000), st.integers(1, 9000))
def test_a_stretched_photo_fills_the_input(height: int, width: int) -> None:
    place = letterbox((0, 0, width, height), Letterbox(stretch=True), SIZE)
    assert (place.target, place.size) == ((0, 0, 320, 240), (240, 320))
    ends = np.array([[0, 0], [320, 240]], np.float32)
    np.testing.assert_allclose(place.to_photo(ends), [[0, 0], [width, height]], rtol=1e-6, atol=1e-3)


@given(st.integers(1, 6000), st.integers(1, 6000), st.integers(32, 2000))
def test_tiles_cover_the_photo_overlap_and_are_few(height: int, width: int, tile: int) -> None:
    parts = tiles((height, width), tile, SIZE)
    assume(parts)
    assert 2 <= len(parts) <= MAX_TILES
    lefts, tops = sorted({part[0] for part in parts}), sorted({part[1] for part in parts})
    part_width, part_height = parts[0][2] - parts[0][0], parts[0][3] - parts[0][1]
    for starts, side, length in ((lefts, part_width, width), (tops, part_height, height)):
        assert starts[0] == 0 and starts[-1] + side == pytest.approx(length)
        assert all(b - a <= 0.75 * side + 1e-6 for a, b in pairwise(starts))
    assert len(parts) == len(lefts) * len(tops)


def test_a_photo_of_one_tile_has_none() -> None:
    assert tiles((240, 320), 320, SIZE) == []
    assert len(tiles((240, 321), 320, SIZE)) == 2
    assert tiles((10_000, 10_000), 32, SIZE), "a small tile of a large photo grows until there are few"


def chosen(boxes: list, scores: list, rect: tuple = (0, 0, 320, 240), upright: tuple = (240, 320)) -> list:
    place = letterbox(rect, Letterbox(position="top_left"), SIZE)
    values = np.array(scores, np.float32)[:, None]
    points = np.empty((len(boxes), 0, 2), np.float32)
    found = candidates(np.array(boxes, np.float32).reshape(-1, 4), values, points, place, upright, 0.5)
    return found.boxes.round(3).tolist()


def test_candidates_are_those_with_a_score_and_an_area_in_the_photo() -> None:
    boxes = [(1, 1, 9, 9), (2, 2, 9, 9), (5, 5, 5, 9), (9, 9, 5, 5), (-9, 0, -1, 5), (0, 250, 9, 260), (-5, -5, 9, 9)]
    scores = [0.5, 0.4, 0.9, 0.9, 0.9, 0.9, 0.8]
    assert chosen(boxes, scores) == [[-5, -5, 9, 9], [1, 1, 9, 9]]
    # Of a photo of 240 x 240 the input's right side shows nothing.
    assert chosen([(250, 5, 290, 40)], [0.9], (0, 0, 240, 240), (240, 240)) == []
    assert chosen([], []) == []


def test_a_box_that_a_border_inside_the_photo_cuts_is_dropped() -> None:
    cut, whole = (100, 100, 319, 150), (100, 100, 310, 150)
    assert chosen([cut, whole], [0.9, 0.9], (0, 0, 320, 240), (240, 500)) == [list(whole)]
    assert chosen([cut], [0.9]) == [list(cut)], "the photo ends there"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.5])
def test_scores_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="scores that are not in 0..1"):
        chosen([(1, 1, 9, 9)], [bad])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_of_a_candidate_that_are_not_finite_are_refused_and_others_do_not_matter(bad: float) -> None:
    assert chosen([(bad, 1, 9, 9), (1, 1, 9, 9)], [0.1, 0.9]) == [[1, 1, 9, 9]]
    with pytest.raises(InputError, match="not finite"):
        chosen([(bad, 1, 9, 9)], [0.9])


BOXES = st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 20)] * 2).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


@given(st.lists(st.tuples(BOXES, st.integers(1, 99), st.integers(1, 99)), max_size=25), st.sampled_from([0.3, 0.5, 1]))
def test_suppression_is_the_plain_greedy_one_per_label(drawn: list, limit: float) -> None:
    boxes = np.array([box for box, _, _ in drawn], np.float32).reshape(-1, 4)
    scores = np.array([(a / 100, b / 100) for _, a, b in drawn], np.float32).reshape(-1, 2)
    result = choose(
        Candidates(boxes, scores, np.empty((len(boxes), 0, 2), np.float32)),
        DetectionThresholds(nms_iou=limit, max_detections=10),
        (100, 100),
    )
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda i: -scores[i].max()):
        rivals = [k for k in kept if scores[k].argmax() == scores[index].argmax()]
        if all(pairwise_iou(boxes[[k]], boxes[[index]])[0, 0] <= limit for k in rivals):
            kept.append(index)
    assert result.boxes.tolist() == boxes[kept[:10]].tolist() and result.scores.tolist() == scores[kept[:10]].tolist()


@given(st.lists(st.tuples(*[st.integers(0, 30)] * 4), max_size=6), st.lists(BOXES, max_size=6))
def test_overlaps_of_boxes_are_those_of_their_pixels(first: list, second: list) -> None:
    boxes = corners(np.array(first, float).reshape(-1, 4)), np.array(second, float).reshape(-1, 4)
    masks = [np.zeros((len(group), 60, 60), bool) for group in boxes]
    for group, painted in zip(boxes, masks, strict=True):
        for (left, top, right, bottom), mask in zip(group.astype(int), painted, strict=True):
            mask[top:bottom, left:right] = True
    expected = [[(a & b).sum() / (a | b).sum() for b in masks[1]] for a in masks[0]]
    np.testing.assert_allclose(pairwise_iou(*boxes), np.reshape(expected, (len(first), len(second))))


def test_boxes_without_an_area_overlap_nothing() -> None:
    assert pairwise_iou(np.zeros((1, 4)), np.array([(0, 0, 0, 0), (0, 0, 2, 2)], float)).tolist() == [[0, 0]]


def test_boxes_are_clipped_to_the_photo_after_suppression() -> None:
    boxes = np.array([(-10, -10, 30, 30), (90, 90, 140, 120)], np.float32)
    result = choose(
        Candidates(boxes, np.array([[0.9], [0.8]], np.float32), np.empty((2, 0, 2), np.float32)),
        DetectionThresholds(),
        (100, 120),
    )
    assert result.boxes.tolist() == [[0, 0, 30, 30], [90, 90, 120, 100]]


def test_a_hostile_graph_costs_a_bounded_number_of_comparisons() -> None:
    count = 200_000
    grid = np.arange(count, dtype=np.float32) % 320
    boxes = np.stack([grid, grid, grid + 1, grid + 1], axis=1)
    place = letterbox((0, 0, 320, 240), Letterbox(position="top_left"), SIZE)
    points = np.empty((count, 0, 2), np.float32)
    found = candidates(boxes, np.ones((count, 1), np.float32), points, place, (240, 320), 0.5)
    assert len(found.boxes) <= MAX_CANDIDATES
    assert len(choose(found, DetectionThresholds(max_detections=10_000), (240, 320)).boxes) == 240
