"""A fixed filter bank: local contrast of an image by orientation and scale."""

import math

import torch
from torch import nn
from torch.nn import functional

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
