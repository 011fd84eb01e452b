"""The resize of training pictures: the filter of serving's, on whole pixels, in less than half the time."""

import torch
from torch.nn import functional

from components.train_classifier.augmentations.ranges import Pixels
from serving.runtime.card import InputSize
from serving.runtime.image.crop import Rect


def resize_rect(pixels: Pixels, rect: Rect, size: InputSize) -> Pixels:
    """Resize a rectangle (left, top, right, bottom) of RGB `pixels`, antialiased bilinear.

    It is rounded to whole pixels, which for a place that is random anyway does not matter, and the pixels around it
    are not read. The result is within a level of Pillow's for the same pixels.

    uint8 (h,w,3) -> uint8 (size.height, size.width, 3). The rectangle must lie inside the pixels.
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = map(round, rect)
    left, top = min(left, width - 1), min(top, height - 1)
    part = pixels[top : max(bottom, top + 1), left : max(right, left + 1)].copy()
    planes = torch.from_numpy(part).permute(2, 0, 1)[None]
    resized = functional.interpolate(planes, (size.height, size.width), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()
