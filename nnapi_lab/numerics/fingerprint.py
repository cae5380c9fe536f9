"""FarmHash's 64-bit fingerprint of a byte string, the hash behind LSH_PROJECTION.

All arithmetic is modulo 2^64. The function is frozen by its authors: it may not change between versions.
Source: Google FarmHash, `farmhashna::Hash64`, which AOSP 13 `LSHProjection.cpp` calls as Fingerprint64.
"""

from __future__ import annotations

import struct

_MASK = (1 << 64) - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F
_SEED = 81


def fingerprint64(data: bytes) -> int:
    """The fingerprint as an unsigned 64-bit number."""
    size = len(data)
    if size <= 16:
        return _up_to_16(data)
    if size <= 32:
        return _up_to_32(data)
    return _up_to_64(data) if size <= 64 else _beyond_64(data)


def _word(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<Q", data, at)[0])


def _half_word(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _rotate(value: int, bits: int) -> int:
    value &= _MASK
    return value if bits == 0 else (value >> bits | value << (64 - bits)) & _MASK


def _fold(value: int) -> int:
    value &= _MASK
    return value ^ value >> 47


def _mix(low: int, high: int, factor: int) -> int:
    a = _fold(((low ^ high) & _MASK) * factor)
    b = _fold(((high ^ a) & _MASK) * factor)
    return b * factor & _MASK


def _up_to_16(data: bytes) -> int:
    size = len(data)
    if size >= 8:
        factor = _K2 + size * 2
        a, b = _word(data, 0) + _K2, _word(data, size - 8)
        c = _rotate(b, 37) * factor + a
        d = (_rotate(a, 25) + b) * factor
        return _mix(c & _MASK, d & _MASK, factor)
    if size >= 4:
        factor = _K2 + size * 2
        return _mix(size + (_half_word(data, 0) << 3), _half_word(data, size - 4), factor)
    if size > 0:
        y = data[0] + (data[size >> 1] << 8)
        z = size + (data[-1] << 2)
        return _fold(y * _K2 & _MASK ^ z * _K0 & _MASK) * _K2 & _MASK
    return _K2


def _up_to_32(data: bytes) -> int:
    size = len(data)
    factor = _K2 + size * 2
    a, b = _word(data, 0) * _K1 & _MASK, _word(data, 8)
    c, d = _word(data, size - 8) * factor & _MASK, _word(data, size - 16) * _K2 & _MASK
    return _mix(_rotate(a + b, 43) + _rotate(c, 30) + d & _MASK, a + _rotate(b + _K2, 18) + c & _MASK, factor)


def _up_to_64(data: bytes) -> int:
    size = len(data)
    factor = _K2 + size * 2
    a, b = _word(data, 0) * _K2 & _MASK, _word(data, 8)
    c, d = _word(data, size - 8) * factor & _MASK, _word(data, size - 16) * _K2 & _MASK
    y = _rotate(a + b, 43) + _rotate(c, 30) + d & _MASK
    z = _mix(y, a + _rotate(b + _K2, 18) + c & _MASK, factor)
    e, f = _word(data, 16) * factor & _MASK, _word(data, 24)
    g, h = (y + _word(data, size - 32)) * factor & _MASK, (z + _word(data, size - 24)) * factor & _MASK
    return _mix(_rotate(e + f, 43) + _rotate(g, 30) + h & _MASK, e + _rotate(f + a, 18) + g & _MASK, factor)


def _absorb(data: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    """Two words of state after the 32 bytes at `at`."""
    w, x, y, z = (_word(data, at + offset) for offset in (0, 8, 16, 24))
    a = a + w & _MASK
    b = _rotate(b + a + z, 21)
    c = a
    a = a + x + y & _MASK
    return a + z & _MASK, b + _rotate(a, 44) + c & _MASK


def _beyond_64(data: bytes) -> int:
    x, y = _SEED * _K2 & _MASK, _SEED * _K1 + 113 & _MASK
    x, z = (x + _word(data, 0)) & _MASK, _fold(y * _K2 + 113) * _K2 & _MASK
    v, w = (0, 0), (0, 0)
    last = (len(data) - 1) // 64 * 64  # the final block is the last 64 bytes, overlapping the one before
    for at in range(0, last, 64):
        x = _rotate(x + y + v[0] + _word(data, at + 8), 37) * _K1 & _MASK
        y = _rotate(y + v[1] + _word(data, at + 48), 42) * _K1 & _MASK
        x, y, z = x ^ w[1], y + v[0] + _word(data, at + 40) & _MASK, _rotate(z + w[0], 33) * _K1 & _MASK
        v = _absorb(data, at, v[1] * _K1, x + w[0])
        w = _absorb(data, at + 32, z + w[1], y + _word(data, at + 16))
        z, x = x, z
    return _last_block(data, x, y, z, v, w)


def _last_block(data: bytes, x: int, y: int, z: int, v: tuple[int, int], w: tuple[int, int]) -> int:
    factor = _K1 + ((z & 0xFF) << 1)
    at = len(data) - 64
    w = (w[0] + ((len(data) - 1) & 63) & _MASK, w[1])
    v = (v[0] + w[0] & _MASK, v[1])
    w = (w[0] + v[0] & _MASK, w[1])
    x = _rotate(x + y + v[0] + _word(data, at + 8), 37) * factor & _MASK
    y = _rotate(y + v[1] + _word(data, at + 48), 42) * factor & _MASK
    x ^= w[1] * 9 & _MASK
    y = y + v[0] * 9 + _word(data, at + 40) & _MASK
    z = _rotate(z + w[0], 33) * factor & _MASK
    v = _absorb(data, at, v[1] * factor, x + w[0])
    w = _absorb(data, at + 32, z + w[1], y + _word(data, at + 16))
    z, x = x, z
    low = _mix(v[0], w[0], factor) + _fold(y) * _K0 + z & _MASK
    return _mix(low, _mix(v[1], w[1], factor) + x & _MASK, factor)
