"""FarmHash's 64-bit fingerprint, against values that others publish or compute."""

from __future__ import annotations

import pytest

from nnapi_lab.numerics.fingerprint import fingerprint64

# BigQuery's documentation of FARM_FINGERPRINT, as signed numbers.
PUBLISHED = {
    b"1footrue": -1541654101129638711,
    b"2applefalse": 2794438866806483259,
    b"3true": -4880158226897771312,
}


@pytest.mark.parametrize("text", PUBLISHED)
def test_published_fingerprints(text: bytes) -> None:
    assert fingerprint64(text) == PUBLISHED[text] % 2**64


# Of the first n bytes of `noise`, by FarmHash's own code: a length for every branch, and the edges.
LENGTHS = {
    0: 0x9AE16A3B2F90404F,
    1: 0x1032417B210A5A46,
    3: 0x1A4C70CF237614DA,
    4: 0x6566A3D4486E777A,
    7: 0xCD6452948D74F843,
    8: 0xE344AAF7AAF141CA,
    16: 0x96E8984DEC122A76,
    17: 0xF37241559F59A08C,
    32: 0x9D7C84C8D58B352B,
    33: 0xF6922E4F7A34272F,
    64: 0xBC3047BFBCBD2FF0,
    65: 0x07521B9A48CBC10A,
    127: 0x16123F0DED112552,
    128: 0xF4DD7B2F0F29CAB7,
    129: 0xD2B5189F8E4CFBEE,
    200: 0x778565020BF44061,
}


def noise(count: int) -> bytes:
    """Bits 16…23 of a linear congruential sequence."""
    state, found = 12345, bytearray()
    for _ in range(count):
        state = (state * 1103515245 + 12345) % 2**32
        found.append(state >> 16 & 0xFF)
    return bytes(found)


@pytest.mark.parametrize("length", LENGTHS)
def test_every_length_class(length: int) -> None:
    assert fingerprint64(noise(length)) == LENGTHS[length]
