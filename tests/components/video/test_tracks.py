"""Numbers of faces: kept while a face moves, crosses others and is away for a short time; never given twice."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.video.tracks import Tracker
from serving.runtime.image.placement import Box

STEP = 0.04


def tracker() -> Tracker:
    return Tracker(iou=0.3, memory=1.0)


def follow(paths: list[Callable[[int], Box | None]], frames: int) -> list[set[int]]:
    """The numbers that each path gets; a path gives the box of its face, None while it is away."""
    tracks, numbers = tracker(), [set[int]() for _ in paths]
    for frame in range(frames):
        seen = [(index, box) for index, path in enumerate(paths) if (box := path(frame)) is not None]
        for (index, _), number in zip(seen, tracks.update(frame * STEP, [box for _, box in seen]), strict=True):
            numbers[index].add(number)
    return numbers


@settings(deadline=None)
@given(speed=st.floats(-12, 12), other=st.floats(-12, 12), distance=st.floats(0, 6), size=st.floats(20, 60))
def test_faces_that_cross_keep_their_numbers(speed: float, other: float, distance: float, size: float) -> None:
    """They start side by side, meet and go through each other, at any speeds below about half their width a frame."""
    speed, other = speed * size / 30, other * size / 30
    paths: list[Callable[[int], Box | None]] = [
        lambda frame: (speed * frame, 0.0, size, size),
        lambda frame: (size + distance * size + other * frame, 4.0, size, size * 1.1),
    ]
    assert follow(paths, 60) == [{1}, {2}]


@settings(deadline=None)
@given(st.data())
def test_the_order_of_the_boxes_changes_nothing(data: st.DataObject) -> None:
    first, second = tracker(), tracker()
    for frame in range(12):
        boxes: list[Box] = [(100.0 * face + 5 * frame * (-1) ** face, 10.0, 40.0, 50.0 + face) for face in range(4)]
        shuffled = data.draw(st.permutations(boxes)) if frame else boxes
        numbers = dict(zip(shuffled, second.update(frame * STEP, shuffled), strict=True))
        assert [numbers[box] for box in boxes] == first.update(frame * STEP, boxes)


boxes = st.tuples(st.floats(0, 200), st.floats(0, 200), st.floats(1, 90), st.floats(1, 90))


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.001, 2), st.lists(boxes, max_size=6)), max_size=12))
def test_no_number_is_given_twice(frames: list[tuple[float, list[Box]]]) -> None:
    tracks, time, given, highest = tracker(), 0.0, dict[int, int](), 0
    for index, (step, found) in enumerate(frames):
        time += step
        numbers = tracks.update(time, found)
        assert len(set(numbers)) == len(numbers) == len(found)
        new = [number for number in numbers if number not in given]
        assert new == list(range(highest + 1, highest + 1 + len(new)))
        highest += len(new)
        given |= dict.fromkeys(numbers, index)
    assert tracks.count == highest


@pytest.mark.parametrize(("away", "kept"), [(1, True), (20, True), (24, True), (27, False)])
def test_a_face_that_comes_back_is_known_for_as_long_as_it_is_remembered(away: int, kept: bool) -> None:
    present = [*range(10), *range(9 + away + 1, 50)]
    (numbers,) = follow([lambda frame: (50.0, 20.0, 30.0, 30.0) if frame in present else None], 50)
    assert numbers == ({1} if kept else {1, 2})


def test_a_moving_face_is_found_again_where_it_would_be() -> None:
    paths = [lambda frame: None if 10 <= frame < 20 else (10.0 * frame, 0.0, 30.0, 30.0)]
    assert follow(paths, 30) == [{1}]


def test_a_face_that_speeds_up_is_followed_beyond_its_own_width_per_frame() -> None:
    (numbers,) = follow([lambda frame: (1.0 * frame**2, 0.0, 30.0, 30.0)], 40)
    assert numbers == {1}, "78 pixels a frame at the end"


def test_while_the_camera_moves_a_small_face_that_appears_is_followed() -> None:
    """It moves by its own width a frame, as the large ones do that were there before."""
    paths: list[Callable[[int], Box | None]] = [
        lambda frame: (12.0 * frame, 0.0, 60.0, 60.0),
        lambda frame: (300 + 12.0 * frame, 0.0, 60.0, 60.0),
        lambda frame: (100 + 12.0 * frame, 100.0, 12.0, 12.0) if frame >= 3 else None,
    ]
    assert follow(paths, 20) == [{1}, {2}, {3}]


def test_a_face_that_jumps_is_another_one() -> None:
    assert follow([lambda frame: (100.0 * (frame > 4), 0.0, 30.0, 30.0)], 10) == [{1, 2}]


def test_the_last_frame_is_remembered_however_long_ago_it_was() -> None:
    tracks = Tracker(iou=0.3, memory=0.0)
    assert [tracks.update(10.0 * frame, [(0, 0, 9, 9)]) for frame in range(3)] == [[1], [1], [1]]


def test_the_best_of_all_assignments_is_taken_not_the_best_first_pair() -> None:
    """Pair by pair, the first box would go to the second face, which it overlaps more, and the first face get none."""
    tracks = Tracker(iou=0.2, memory=1.0)
    assert tracks.update(0.0, [(0, 0, 30, 30), (20, 0, 30, 30)]) == [1, 2]
    assert tracks.update(0.0, [(11, 0, 30, 30), (34, 0, 30, 30)]) == [1, 2]
