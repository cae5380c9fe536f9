"""The counter-based random generator Philox 4×32 with 10 rounds: one seed, one sequence, everywhere.

Source: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3 (2011); seeding and doubles as in
TensorFlow's PhiloxRandom and SimplePhilox, which AOSP 13 `Multinomial.cpp` uses.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)

Words = npt.NDArray[np.uint64]  # 32-bit words, kept in 64 bits so that products fit


def philox_blocks(counters: npt.ArrayLike, key: tuple[int, int], rounds: int = 10) -> npt.NDArray[np.uint32]:
    """Four random 32-bit words for each counter [n, 4] under one key of two 32-bit words."""
    c0, c1, c2, c3 = (np.asarray(counters, np.uint64)[:, column] for column in range(4))
    k0, k1 = key
    for _ in range(rounds):
        product0, product1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (product1 >> _32) ^ c1 ^ np.uint64(k0),
            product1 & _LOW,
            (product0 >> _32) ^ c3 ^ np.uint64(k1),
            product0 & _LOW,
        )
        k0, k1 = (k0 + _KEY_STEPS[0]) & 0xFFFFFFFF, (k1 + _KEY_STEPS[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def uniform_doubles(count: int, seed: int, seed2: int) -> npt.NDArray[np.float64]:
    """`count` numbers in [0, 1) with 52 random bits each, from two signed seeds.

    `seed` is the key, `seed2` the upper half of the counter; two words make a number, the first its high bits.
    """
    blocks = -(-count // 2)
    counters = np.zeros((blocks, 4), np.uint64)
    counters[:, 0] = np.arange(blocks, dtype=np.uint64) & _LOW
    counters[:, 1] = np.arange(blocks, dtype=np.uint64) >> _32
    counters[:, 2:] = _halves(seed2)
    words = philox_blocks(counters, _halves(seed)).reshape(-1, 2)[:count]
    high, low = words[:, 0].astype(np.uint64) & np.uint64(0xFFFFF), words[:, 1].astype(np.uint64)
    return ((high << _32) | low).astype(np.float64) / 2.0**52


def _halves(seed: int) -> tuple[int, int]:
    """The low and the high 32 bits of a seed, two's complement."""
    return seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF
