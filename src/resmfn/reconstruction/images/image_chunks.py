"""Images read from disk in storage order, each once; the next chunk is read while one is processed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from resmfn.data import ParticleSet
from resmfn.fourier import resize_images

READ_PIXELS, READ_IMAGES = 6_000_000, 1000
"""Most of either that one chunk holds: 24 MB of pixels, whatever the box. On the way to Fourier pixels a chunk takes
eight times as much."""


@dataclass(frozen=True)
class ImageChunk:
    """Some images, and the rows that show them."""

    images: Tensor
    """(m, N, N) in the working box."""
    row: Tensor
    """int64 (m,): the first row that shows each image."""
    shown_by: Tensor
    """int64 (r,): every row that shows one of them."""
    image: Tensor
    """int64 (r,): which image of the chunk it shows."""


def read_once(particles: ParticleSet, box_size: int, block: range | None = None) -> Iterator[ImageChunk]:
    """Read every image of a block of rows once, Fourier-cropped to ``box_size``, in chunks that fit in memory."""
    first_row, image_of = particles.distinct_images()
    block = block or range(len(image_of))
    wanted, image_of = image_of[block.start : block.stop].unique(return_inverse=True)
    first_row = first_row[wanted]
    order = torch.argsort(image_of, stable=True)
    starts = torch.cat((torch.zeros(1, dtype=torch.int64), torch.bincount(image_of).cumsum(0)))
    step = max(1, min(READ_IMAGES, READ_PIXELS // particles.box_size**2))
    chunks = torch.arange(len(first_row)).split(step)
    with ThreadPoolExecutor(1) as reader:
        pending = reader.submit(particles.read_images, first_row[chunks[0]])
        for number, chunk in enumerate(chunks):
            images = pending.result()
            if number + 1 < len(chunks):
                pending = reader.submit(particles.read_images, first_row[chunks[number + 1]])
            rows = order[starts[chunk[0]] : starts[chunk[-1] + 1]]
            if box_size != particles.box_size:
                images = resize_images(images, box_size)
            yield ImageChunk(images, first_row[chunk], rows + block.start, image_of[rows] - chunk[0])
