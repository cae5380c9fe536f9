"""Philox 4×32-10 against the vectors its authors publish."""

from __future__ import annotations

import numpy as np
import pytest

from nnapi_lab.numerics.philox import philox_blocks, uniform_doubles

# Random123's known answers: (counter, key) → block.
KNOWN = {
    "zeros": ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    "ones": ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    "pi": (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
}


@pytest.mark.parametrize("row", KNOWN)
def test_known_answers(row: str) -> None:
    counter, key, block = KNOWN[row]
    assert philox_blocks([counter], key)[0].tolist() == list(block)


def test_doubles_take_their_high_bits_from_the_first_word() -> None:
    first, second = uniform_doubles(2, 0, 0)
    assert first == ((0x6627E8D5 & 0xFFFFF) * 2**32 + 0xE169C58D) / 2**52
    assert second == ((0xBC57AC4C & 0xFFFFF) * 2**32 + 0x9B00DBD8) / 2**52


def test_seeds_choose_the_sequence() -> None:
    drawn = [tuple(uniform_doubles(4, *seeds)) for seeds in ((1, 2), (1, 2), (2, 1), (-1, 2))]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


def test_doubles_fill_the_unit_interval_evenly() -> None:
    counts = np.histogram(uniform_doubles(10_000, 7, 8), bins=10, range=(0, 1))[0]
    # 1000 ± 30 (one sigma); five sigma.
    assert np.all(np.abs(counts - 1000) < 150)
