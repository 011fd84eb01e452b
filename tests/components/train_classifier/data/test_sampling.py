"""The order of an epoch: shares, seeds, equal batches for many processes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from components.shared.dataset.label_spaces import label_space
from components.train_classifier.config.objective import SamplingSpec
from components.train_classifier.data.faces import class_indices
from components.train_classifier.data.loader import draw_evenly, epoch_batches, epoch_order
from serving.runtime.errors import InputError

SHUFFLE, INVERSE, BALANCED = (
    SamplingSpec(name="shuffle"),
    SamplingSpec(name="inverse_frequency"),
    SamplingSpec(name="class_balanced"),
)
ALL = (SHUFFLE, INVERSE, BALANCED)


def classes(*counts: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))


def test_shuffle_sees_every_face_once() -> None:
    order = epoch_order(SHUFFLE, classes(50, 3), seed=4, epoch=2)
    assert sorted(order.tolist()) == list(range(53))
    np.testing.assert_array_equal(order, np.random.default_rng((1, 4, 2)).permutation(53))


def test_inverse_frequency_makes_the_classes_equally_likely() -> None:
    """The class counts of the mask data, 49 to 1. Four standard deviations of a binomial share are the tolerance."""
    counts = (2745, 2050, 415, 3660, 4085, 545, 549, 410, 83, 732, 817, 109, 549, 410, 83, 732, 817, 109)
    labels = classes(*counts)
    order = epoch_order(INVERSE, labels, seed=0, epoch=0)
    assert len(order) == 18900
    shares = np.bincount(labels[order], minlength=18) / len(order)
    tolerance = 4 * (1 / 18 * 17 / 18 / len(order)) ** 0.5
    np.testing.assert_allclose(shares, 1 / 18, atol=tolerance)
    draws = np.bincount(order, minlength=len(labels))[labels == 8]
    assert draws.min() > 0 and draws.mean() == pytest.approx(18900 / 18 / 83, rel=0.15), "with replacement"


@pytest.mark.parametrize("counts", [(100, 7, 30), (5, 5), (1, 2, 3, 4), (0, 10, 3), (1000, 1)])
def test_class_balanced_draws_all_classes_equally_often(counts: tuple[int, ...]) -> None:
    labels = classes(*counts)
    for epoch in range(3):
        order = epoch_order(BALANCED, labels, seed=1, epoch=epoch)
        assert len(order) == len(labels)
        drawn = np.bincount(labels[order], minlength=len(counts))[np.array(counts) > 0]
        assert drawn.max() - drawn.min() <= 1
        for label in np.unique(labels):
            times = np.bincount(order, minlength=len(labels))[labels == label]
            assert times.max() - times.min() <= 1, "every face of a class has its turn"


def test_class_balanced_favors_no_class_over_the_epochs() -> None:
    labels = classes(50, 3)
    extra = [np.bincount(labels[epoch_order(BALANCED, labels, seed=1, epoch=epoch)])[0] for epoch in range(64)]
    assert set(extra) == {26, 27} and 16 <= extra.count(27) <= 48


@pytest.mark.parametrize("sampling", ALL, ids=lambda sampling: sampling.name)
def test_the_order_is_a_function_of_seed_and_epoch(sampling: SamplingSpec) -> None:
    labels = classes(40, 20, 4)
    one = epoch_order(sampling, labels, seed=3, epoch=5)
    np.testing.assert_array_equal(one, epoch_order(sampling, labels, seed=3, epoch=5))
    assert not np.array_equal(one, epoch_order(sampling, labels, seed=4, epoch=5))
    assert not np.array_equal(one, epoch_order(sampling, labels, seed=3, epoch=6))


@pytest.mark.parametrize("sampling", ALL, ids=lambda sampling: sampling.name)
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_the_global_batches_are_the_same_for_any_number_of_processes(sampling: SamplingSpec, world_size: int) -> None:
    order = epoch_order(sampling, classes(61, 30, 4), seed=0, epoch=1)
    whole = epoch_batches(order, 16)
    np.testing.assert_array_equal(np.concatenate(whole), order)
    assert {len(batch) for batch in whole} <= {15, 16}
    parts = [epoch_batches(order, 16, rank=rank, world_size=world_size) for rank in range(world_size)]
    for batch, *shares in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate(shares), batch)
        sizes = [len(share) for share in shares]
        assert max(sizes) - min(sizes) <= 1


def test_more_processes_than_faces_are_refused() -> None:
    with pytest.raises(InputError, match="3 processes.*2 faces"):
        epoch_batches(np.arange(8), 2, world_size=3)


def test_draw_evenly() -> None:
    rng = np.random.default_rng(0)
    found = draw_evenly(np.array([3, 5, 8]), 8, rng)
    assert sorted(found[:3]) == sorted(found[3:6]) == [3, 5, 8] and len(set(found[6:])) == 2
    assert draw_evenly(np.array([3]), 0, rng).tolist() == []


def test_classes_of_another_label_space() -> None:
    faces = [{"age": 25, "gender": "male"}, {"age": 60, "gender": "female"}, {"age": 30, "gender": "male"}]
    assert class_indices(faces, label_space("age")).tolist() == [0, 2, 1]
    assert class_indices(faces, label_space("gender_age")).tolist() == [0, 5, 1]
    with pytest.raises(InputError, match="'mask'"):
        class_indices(faces, label_space("mask"))
