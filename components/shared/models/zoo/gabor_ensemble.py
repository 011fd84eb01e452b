"""An ensemble for a few hundred or thousand photos: small ResNets on Gabor filters, and a linear classifier."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from components.shared.models.zoo.gabor_energies import GaborEnergies
from components.shared.models.zoo.small_resnet import STAGES, check_sizes, convolution_stem, residual_stages
from serving.runtime.errors import InputError

# Chosen without ablation: the grid, the dropout and the 1/4 of the linear member.
_CELLS, _DROPOUT = 8, 0.3
_OTHER_POSITIONS = 3  # in a batch, for each of the linear member's


class LinearMember(nn.Module):
    """A linear layer on the Gabor energies of a grid of 8x8 cells, as HOG with a linear classifier.

    The energies are normalized by their statistics over the training images (batch norm without weights) and 30 % of
    them are dropped in training. Unlike a network with a global average pool it knows where in the image something is.
    Float (N,3,h,w), h and w at least `stride` -> (N,outputs,1,1).
    """

    def __init__(self, outputs: int, stride: int) -> None:
        super().__init__()
        self.energies = GaborEnergies(stride)
        inputs = self.energies.channels * _CELLS**2
        self.linear = nn.Sequential(
            nn.BatchNorm1d(inputs, affine=False), nn.Dropout(_DROPOUT), nn.Linear(inputs, outputs)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float (N,3,h,w) -> (N,outputs,1,1)."""
        cells = functional.adaptive_avg_pool2d(self.energies(images), _CELLS).flatten(1)
        features: torch.Tensor = self.linear(cells)[:, :, None, None]
        return features


class Members(nn.Module):
    """Networks that are trained on different parts of each batch and averaged (after Lakshminarayanan et al., 2017).

    In training position i of a batch goes through member `owners[i % len(owners)]` only, so that an epoch costs as
    much as with one network: with owners (0, 0, 0, 1) the second member is trained on 1/4 of each batch and weighted
    1/4 in the average. A batch with fewer than two positions for a member goes through all of them. In evaluation,
    and for such a batch, the output is the mean over the members, weighted by their parts of `owners`.

    The parts are cut by position alone. Therefore:

    - Batches must be in random order. The order is drawn anew every epoch, so over the epochs every member sees all
      images, and the members differ less than if each had a part of the data to itself.
    - MixUp and CutMix mix images of the whole batch before the parts are cut: with them the members share images.
    - `accumulate` and several processes cut the parts anew in each piece of a batch that goes through the network.
    - Batch norm has the statistics of a member's part, not of the batch: enlarge `batch_size`.
    - Freezing a number of stages is refused: each member has its own. Name modules instead.
    """

    def __init__(self, members: Sequence[nn.Module], owners: Sequence[int]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.owners = tuple(owners)
        self.weights = [self.owners.count(number) / len(self.owners) for number in range(len(members))]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float (N,3,h,w) -> the members' maps after global average pool, (N,C,1,1)."""
        if self.training:
            owners = torch.tensor(self.owners, device=images.device)
            owners = owners.repeat(-(-len(images) // len(owners)))[: len(images)]
            parts = [torch.nonzero(owners == number).flatten() for number in range(len(self.members))]
            if min(len(part) for part in parts) >= 2:
                results = torch.cat(
                    [_pooled(member(images[part])) for member, part in zip(self.members, parts, strict=True)]
                )
                return results[torch.argsort(torch.cat(parts))]
        weighted = [_pooled(member(images)) * weight for member, weight in zip(self.members, self.weights, strict=True)]
        return torch.stack(weighted).sum(dim=0)


class GaborEnsemble(nn.Module):
    """One or more small ResNets on fixed Gabor filters, and perhaps a linear member, that share the last layer.

    `width`, `depth` and `stem_stride` are those of SmallResNet. `stem` is `gabor`, a 1x1 convolution of GaborEnergies,
    or `convolution`, that of SmallResNet. `standardize` gives every channel of each image mean 0 and variance 1 first.
    `members` is the number of ResNets, see Members; multiply the epochs and the batch size by it. `linear_member` adds
    a LinearMember on energies at 1/(2 `stem_stride`) of the size. Float (N,3,h,w) -> logits (N,outputs).
    """

    def __init__(
        self,
        outputs: int,
        width: int = 32,
        depth: int = 2,
        stem: str = "gabor",
        stem_stride: int = 2,
        standardize: bool = False,
        members: int = 1,
        linear_member: bool = False,
    ) -> None:
        check_sizes("gabor_ensemble", width=width, depth=depth, stem_stride=stem_stride, members=members)
        if stem not in _STEMS:
            raise InputError(f"stem of a gabor_ensemble must be {' or '.join(_STEMS)}, got {stem!r}")
        super().__init__()
        channels = width << (STAGES - 1)
        networks: list[nn.Module] = [
            residual_stages(_STEMS[stem](width, stem_stride), width, depth) for _ in range(members)
        ]
        owners = list(range(members))
        if linear_member:
            networks.append(LinearMember(channels, 2 * stem_stride))
            owners = owners * _OTHER_POSITIONS + [members] * members
        self.standardize = nn.InstanceNorm2d(3) if standardize else nn.Identity()
        self.features = networks[0] if len(networks) == 1 else Members(networks, owners)
        self.fc = nn.Linear(channels, outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float (N,3,h,w) normalized RGB -> logits (N,outputs)."""
        logits: torch.Tensor = self.fc(_pooled(self.features(self.standardize(images))).flatten(1))
        return logits

    def stage_names(self) -> list[str]:
        """Return the stages from the input on. Raises InputError with several members, which have their own each."""
        if isinstance(self.features, Members):
            raise InputError(
                "the members of a gabor_ensemble have stages of their own: to freeze some, name modules, such as "
                "features.members.0.0"
            )
        return [f"features.{name}" for name, _ in self.features.named_children()]


def _pooled(maps: torch.Tensor) -> torch.Tensor:
    return maps.mean(dim=(2, 3), keepdim=True)


def _gabor_stem(width: int, stride: int) -> nn.Sequential:
    energies = GaborEnergies(stride)
    return nn.Sequential(
        energies, nn.Conv2d(energies.channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )


_STEMS = {"gabor": _gabor_stem, "convolution": convolution_stem}
