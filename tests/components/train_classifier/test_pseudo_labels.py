"""Pseudo-labels: the ramp, the share of a batch, labels in evaluation mode."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from components.shared.options import parse_options
from components.train_classifier.config.objective import PseudoLabelSpec
from components.train_classifier.data.loader import unlabeled_order, unlabeled_share
from components.train_classifier.objective import pseudo_targets, pseudo_weight
from serving.runtime.errors import InputError

ON = PseudoLabelSpec(enabled=True)


def test_off_by_default() -> None:
    assert not PseudoLabelSpec().enabled
    assert pseudo_weight(PseudoLabelSpec(), 10**6) == 0
    assert unlabeled_share(PseudoLabelSpec(), 64) == 0


@pytest.mark.parametrize(
    ("batch", "weight"),
    [
        (0, 0),
        (2499, 0),
        (2500, 0),
        (2549, 0),
        (2550, 0.016),
        (3749, 0.384),
        (3750, 0.4),
        (4999, 0.784),
        (5000, 0.8),
        (10**6, 0.8),
    ],
)
def test_the_ramp(batch: int, weight: float) -> None:
    """The counter grows by 1 every 50 batches; 0 until 50, then linearly to .8 at 100."""
    assert pseudo_weight(ON, batch) == pytest.approx(weight)


def test_the_ramp_never_falls() -> None:
    weights = [pseudo_weight(ON, batch) for batch in range(0, 6000, 10)]
    assert weights == sorted(weights)


def test_the_second_stage_has_full_weight_at_once() -> None:
    second = PseudoLabelSpec(enabled=True, start=0, end=0, weight=1.0)
    assert [pseudo_weight(second, batch) for batch in (0, 1, 9999)] == [1, 1, 1]


@pytest.mark.parametrize(("share", "size", "expected"), [(0.5, 64, 32), (0.5, 2, 1), (0.01, 8, 1), (0.99, 8, 7)])
def test_a_batch_always_has_both_kinds(share: float, size: int, expected: int) -> None:
    assert unlabeled_share(PseudoLabelSpec(enabled=True, share=share), size) == expected


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    first = unlabeled_order(10, 25, seed=1, epoch=2)
    assert len(first) == 25 and np.bincount(first).min() == 2
    np.testing.assert_array_equal(first, unlabeled_order(10, 25, seed=1, epoch=2))
    assert not np.array_equal(first, unlabeled_order(10, 25, seed=1, epoch=3))


def test_pseudo_labels_use_evaluation_mode_and_change_no_state() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 5))
    network.train()
    network[1].eval()  # a frozen part
    before = copy.deepcopy(network.state_dict())
    inputs = torch.randn(16, 4)
    found = pseudo_targets(network, inputs, (3, 2))
    assert [module.training for module in network] == [True, False, True, True] and network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    one_by_one = [pseudo_targets(network, inputs[row : row + 1], (3, 2)) for row in range(16)]
    for head in range(2):
        assert torch.equal(found[head], torch.cat([part[head] for part in one_by_one])), "no dependence on the batch"
        assert set(found[head].flatten().tolist()) == {0.0, 1.0} and found[head].sum(dim=1).eq(1).all()
        assert not found[head].requires_grad
    expected = network.eval()(inputs)
    assert torch.equal(found[0].argmax(dim=1), expected[:, :3].argmax(dim=1))
    assert torch.equal(found[1].argmax(dim=1), expected[:, 3:].argmax(dim=1))


def test_wrong_ramps_are_explained() -> None:
    for values in ({"start": 10, "end": 5}, {"share": 1.0}, {"every": 0}, {"weight": -1}):
        with pytest.raises(InputError, match="pseudo_labels"):
            parse_options(PseudoLabelSpec, values, "pseudo_labels")
