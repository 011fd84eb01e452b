"""One picture, from its file or as pixels, for everything that is cut from it."""

import math
from dataclasses import replace
from functools import cached_property
from typing import Self

from serving.runtime.card import InputSize
from serving.runtime.image.decode import REDUCTIONS, stored_pixels
from serving.runtime.image.decode_cost import check_memory
from serving.runtime.image.header import DEFAULT_MAX_PIXELS, Header, Pixels, Rect, clip, read_header
from serving.runtime.work import Work

_FULL = 8
"""Eighths at which an image is decoded in full."""


class Photo:
    """A picture; a JPEG is decoded once for each scale that its parts need. Not for several threads at once.

    Attributes:
        data: the image file; empty for pixels.
    """

    def __init__(self, data: bytes, work: Work | None = None) -> None:
        """Take an image file; nothing of it is read yet.

        `work` is checked before every part, and bounds the memory that it takes.
        """
        self.data = data
        self._work = work or Work()
        self._decoded: dict[int, tuple[Pixels, float]] = {}

    @classmethod
    def of_pixels(cls, pixels: Pixels) -> Self:
        """Return a photo of upright RGB pixels, uint8 (h, w, 3), such as a frame of a video."""
        photo = cls(b"")
        photo.header = Header(pixels.shape[0], pixels.shape[1], 1, False, "")
        photo._decoded = {_FULL: (pixels, 1.0)}
        return photo

    @cached_property
    def header(self) -> Header:
        """Its size as stored and its orientation; raises ImageError when it is not an image that is read."""
        return read_header(self.data)

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width in pixels of the upright image."""
        return self.header.upright

    def part(self, rect: Rect, input_size: InputSize, min_decode: float) -> tuple[Pixels, Rect]:
        """Decode the part of the image that a rectangle needs, and map the rectangle to the decoded pixels.

        A JPEG is decoded at the smallest of the REDUCTIONS at which the rectangle still measures `min_decode` times the
        input on both sides, or at the largest with at most DEFAULT_MAX_PIXELS. The part reaches one radius of an
        antialiased filter to `input_size` beyond the rectangle.

        Args:
            rect: (left, top, right, bottom) in upright pixels; clipped to the image.
            input_size: the size that the rectangle will be resized to.
            min_decode: how much larger than that the decoded rectangle must be.

        Returns:
            Upright RGB pixels, uint8 (h, w, 3), a view; and the rectangle in those pixels, fractions included.

        Raises:
            ImageError: the image cannot be used, see `decode`.
            InputError: the rectangle lies outside the image.
            AbandonedError: nobody waits for the result any longer.
        """
        self._work.check()
        header = self.header
        left, top, right, bottom = rect = clip(rect, header.upright)
        height, width = input_size.height, input_size.width
        required = 8 * min_decode * max(height / (bottom - top), width / (right - left))
        eighths = next((n for n in REDUCTIONS if n >= required), _FULL) if header.jpeg else _FULL
        if self._work.max_memory is not None:
            check_memory(self.data, header, eighths / 8, (bottom - top) * (right - left), self._work.max_memory)
        if eighths not in self._decoded:
            self._decoded[eighths] = stored_pixels(self.data, header, eighths, DEFAULT_MAX_PIXELS)[:2]
        stored, scale = self._decoded[eighths]
        # A reduced side is rounded up at its end as stored, so the rectangle is scaled there and turned afterwards.
        reduced = replace(header, height=stored.shape[0], width=stored.shape[1])
        left, top, right, bottom = (value * scale for value in header.to_stored(rect))
        left, top, right, bottom = clip(reduced.rect_to_upright((left, top, right, bottom)), reduced.upright)
        pixels = header.to_upright(stored)
        margin_x = math.ceil((right - left) / width) + 1
        margin_y = math.ceil((bottom - top) / height) + 1
        x0, y0 = max(0, math.floor(left) - margin_x), max(0, math.floor(top) - margin_y)
        part = pixels[y0 : math.ceil(bottom) + margin_y, x0 : math.ceil(right) + margin_x]
        return part, (left - x0, top - y0, right - x0, bottom - y0)
