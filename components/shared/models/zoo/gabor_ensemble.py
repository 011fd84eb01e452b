"""An ensemble for a few hundred or thousand photos: small ResNets on Gabor filters, and a linear classifier.

The filters are a fixed bank: local contrast of an image by orientation and scale.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from components.shared.models.zoo.small_resnet import STAGES, check_sizes, convolution_stem, residual_stages
from serving.runtime.errors import InputError

# Chosen without ablation, except where a reason is given.
ORIENTATIONS = 8
_SIDE = 7  # at the border the envelope is down to 0.21 along the wave front and to 0.04 across it
_SIGMA_ACROSS, _SIGMA_ALONG = 1.2, 1.7  # pixels
_FREQUENCY = (
    0.55 * math.pi
)  # radians per pixel, in the upper half of the band; lower frequencies are seen in the halved images
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_NOISE = 1e-4  # added to the squared energy: contrast below 0.01 is treated as noise
_WINDOW = 9  # pixels of the output
_LEAST_CONTRAST = 0.05  # below this mean energy a region counts as flat and is not amplified to full contrast

# Chosen without ablation: the grid, the dropout and the 1/4 of the linear member.
_CELLS, _DROPOUT = 8, 0.3
_OTHER_POSITIONS = 3  # in a batch, for each of the linear member's


class GaborEnergies(nn.Module):
    """Oriented contrast of the luma at several scales, and the colors, at 1/`stride` of the size. No trainable weights.

    At the full size, a half of it and so on down to 1/`stride`, a quadrature pair of Gabor filters for each of 8
    orientations gives the local energy sqrt(even^2 + odd^2) (Adelson and Bergen, 1985), which responds to an edge or a
    line whatever its phase. Average pooling brings it to 1/`stride`. There the energies of a scale are divided by
    their mean over the orientations and a 9x9 window, as the blocks of HOG are (Dalal and Triggs, 2005), which removes
    the local contrast.

    A network on these filters does not have to learn edge detectors from few images. `channels` is the number of
    output channels: 8 for each scale, then red, green and blue.
    Float (N,3,h,w) -> (N,channels,h/stride,w/stride), rounded up.
    """

    even_and_odd: torch.Tensor
    luma: torch.Tensor

    def __init__(self, stride: int) -> None:
        super().__init__()
        if stride < 1 or stride & (stride - 1):
            raise ValueError(f"the stride of Gabor energies must be 1, 2, 4, 8, ..., got {stride!r}")
        self.scales = stride.bit_length()
        self.channels = self.scales * ORIENTATIONS + 3
        # Constants of the code, not of the weights.
        self.register_buffer("even_and_odd", _filters(), persistent=False)
        self.register_buffer("luma", torch.tensor(_LUMA).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float (N,3,h,w) RGB of mean about 0 and standard deviation about 1 -> (N,channels,h/stride,w/stride)."""
        with torch.no_grad():
            energies = []
            for scale in range(self.scales):
                if scale > 0:
                    images = _halved(images)
                energy = self._energy(images)
                for _ in range(self.scales - 1 - scale):
                    energy = _halved(energy)
                energies.append(_without_contrast(energy))
            return torch.cat([*energies, images], dim=1)

    def _energy(self, images: torch.Tensor) -> torch.Tensor:
        luma = (images * self.luma).sum(dim=1, keepdim=True)
        margin = _SIDE // 2
        padded = functional.pad(luma, (margin, margin, margin, margin), mode="replicate")
        even, odd = functional.conv2d(padded, self.even_and_odd).chunk(2, dim=1)
        return torch.addcmul(even.square(), odd, odd).add(_NOISE).sqrt()


def _filters() -> torch.Tensor:
    """The even and then the odd filters, (2 * ORIENTATIONS, 1, 7, 7): zero mean, absolute values sum to 4."""
    offsets = torch.arange(_SIDE, dtype=torch.float64) - _SIDE // 2
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    filters = []
    for wave in (torch.cos, torch.sin):
        for number in range(ORIENTATIONS):
            angle = math.pi * number / ORIENTATIONS
            across = x * math.cos(angle) + y * math.sin(angle)
            along = y * math.cos(angle) - x * math.sin(angle)
            envelope = torch.exp(-0.5 * ((across / _SIGMA_ACROSS) ** 2 + (along / _SIGMA_ALONG) ** 2))
            kernel = envelope * wave(_FREQUENCY * across)
            kernel -= envelope * (kernel.sum() / envelope.sum())
            filters.append(4 * kernel / kernel.abs().sum())
    return torch.stack(filters)[:, None].float()


def _halved(maps: torch.Tensor) -> torch.Tensor:
    """avg_pool2d(maps, 2, ceil_mode=True), in a fifth of its time on a CPU."""
    height, width = maps.shape[-2:]
    even = functional.pad(maps, (0, width % 2, 0, height % 2), mode="replicate")
    rows = even[..., ::2, :] + even[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def _without_contrast(energy: torch.Tensor) -> torch.Tensor:
    # The mean of a window is that of its rows' means, which takes 18 additions a pixel and not 81.
    around, margin = energy.mean(dim=1, keepdim=True), _WINDOW // 2
    for size, padding in (((_WINDOW, 1), (margin, 0)), ((1, _WINDOW), (0, margin))):
        around = functional.avg_pool2d(around, size, 1, padding, count_include_pad=False)
    return energy / (around + _LEAST_CONTRAST)


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
