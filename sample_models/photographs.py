"""Real photographs as network input, so that activations look like activations and not like noise.

The pictures are the two that scikit-learn carries with it ("china": a temple under a bright sky, "flower": a
dahlia), 427×640 pixels each. Nothing is downloaded. Values are normalised with ImageNet's mean and standard
deviation per channel, as torchvision's classification and segmentation weights expect.
"""

from __future__ import annotations

import functools

import torch
from sklearn.datasets import load_sample_image
from torch.nn import functional

NAMES = ("china", "flower")

# Per-channel mean and standard deviation (red, green, blue) of ImageNet's training set, pixels in 0…1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@functools.cache
def _pixels(name: str) -> torch.Tensor:
    if name not in NAMES:
        raise ValueError(f"no photograph {name!r}; there are {', '.join(NAMES)}")
    pixels = torch.from_numpy(load_sample_image(f"{name}.jpg").copy())
    return pixels.permute(2, 0, 1).unsqueeze(0).float() / 255.0


def photograph(
    size: int | tuple[int, int],
    name: str = "china",
    offset: float | tuple[float, float] = 0.5,
    zoom: float = 1.0,
) -> torch.Tensor:
    """Cut, scale and normalise one photograph: float32 [1, 3, height, width], contiguous.

    size: pixels, one number for a square or (height, width). offset: where the window lies in the room it
    has, 0 = top or left, 1 = bottom or right; one fraction for both axes or (down, across). zoom: 1 takes
    the largest window of that shape, 2 one of half its width and height.
    Raises ValueError for an unknown name, an offset outside 0…1 or a zoom below 1.
    """
    height, width = (size, size) if isinstance(size, int) else size
    down, across = (offset, offset) if isinstance(offset, int | float) else offset
    if not (0 <= down <= 1 and 0 <= across <= 1 and zoom >= 1):
        raise ValueError(f"offset {offset} must lie in 0…1 and zoom {zoom} must be at least 1")
    pixels = _pixels(name)
    full_height, full_width = pixels.shape[2:]
    scale = min(full_height / height, full_width / width) / zoom
    window_height, window_width = max(1, int(height * scale)), max(1, int(width * scale))
    top = int((full_height - window_height) * down)
    left = int((full_width - window_width) * across)
    window = pixels[:, :, top : top + window_height, left : left + window_width]
    scaled = functional.interpolate(window, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return ((scaled - mean) / std).contiguous()


def crops(count: int, size: int | tuple[int, int]) -> torch.Tensor:
    """A batch of different windows, the two photographs taking turns: float32 [count, 3, height, width].

    Position and zoom (1…2) step by irrational fractions, so any count is spread evenly and no random numbers
    are drawn.
    """
    windows = []
    for index in range(count):
        # The golden ratio and the square root of 2: their multiples fill 0…1 evenly and never fall into step.
        down, across = (index * 0.618034) % 1.0, (0.5 + index * 0.414214) % 1.0
        zoom = 1.0 + (index * 0.732051) % 1.0
        windows.append(photograph(size, NAMES[index % len(NAMES)], (down, across), zoom))
    return torch.cat(windows)
