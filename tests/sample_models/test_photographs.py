"""Photographs arrive cropped, scaled and normalised, and the same every time."""

from __future__ import annotations

import pytest
import torch

from sample_models.photographs import IMAGENET_MEAN, IMAGENET_STD, NAMES, crops, photograph


def pixels(image: torch.Tensor) -> torch.Tensor:
    """Undo the normalisation: values in 0…1."""
    return image * torch.tensor(IMAGENET_STD).view(1, 3, 1, 1) + torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)


SIZES = {
    "square": (lambda: photograph(224), (1, 3, 224, 224)),
    "landscape": (lambda: photograph((144, 256)), (1, 3, 144, 256)),
    "portrait": (lambda: photograph((256, 144)), (1, 3, 256, 144)),
    "zoomed": (lambda: photograph(32, "flower", zoom=2.0), (1, 3, 32, 32)),
    "corner": (lambda: photograph(16, offset=(1.0, 1.0), zoom=4), (1, 3, 16, 16)),
    "batch": (lambda: crops(3, (24, 40)), (3, 3, 24, 40)),
}


@pytest.mark.parametrize("case", SIZES)
def test_shape_range_and_repetition(case: str) -> None:
    make, shape = SIZES[case]
    image = make()
    assert (tuple(image.shape), image.dtype, image.is_contiguous()) == (shape, torch.float32, True)
    # Undoing the normalisation rounds twice; interpolation itself stays between its neighbours.
    assert float(pixels(image).min()) > -1e-5
    assert float(pixels(image).max()) < 1 + 1e-5
    assert float(image.std()) > 0.3
    assert torch.equal(image, make())


def test_the_temple_has_a_sky_above() -> None:
    image = pixels(photograph(64))
    red, _green, blue = image[0, :, :16].mean(dim=(1, 2)).tolist()
    assert blue > 0.6
    assert blue > red
    assert float(image[0, :, :16].mean()) > float(image[0, :, -16:].mean())


def test_offset_moves_the_window_across() -> None:
    left, right = photograph(64, offset=0.0), photograph(64, offset=1.0)
    middle = photograph(64, offset=0.5)
    assert not torch.equal(left, right)
    # 427×640 is 1.5 times as wide as high: the left window's right half is the right window's left half.
    assert float((left[..., 32:] - right[..., :32]).abs().mean()) < float((left - right).abs().mean()) / 2
    assert not torch.equal(middle, left)


def test_crops_all_differ_and_take_turns() -> None:
    batch = crops(8, 16)
    assert len({crop.numpy().tobytes() for crop in batch}) == 8
    assert torch.equal(crops(3, 16), batch[:3])


WRONG = {
    "name": (lambda: photograph(8, "cat"), "'cat'.*china, flower"),
    "offset": (lambda: photograph(8, offset=1.5), "1.5"),
    "one_of_two_offsets": (lambda: photograph(8, offset=(0.5, -0.1)), "-0.1"),
    "zoom": (lambda: photograph(8, zoom=0.5), "zoom 0.5"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments(case: str) -> None:
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_names() -> None:
    assert NAMES == ("china", "flower")
    assert not torch.equal(photograph(16, "china"), photograph(16, "flower"))
