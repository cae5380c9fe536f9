"""Exact integer sums of products, fast: which of torch's kernels may be trusted is found out, not assumed.

`torch._int_mm` multiplies int8 matrices into int32; oneDNN's quantized convolution can hand out its int32
accumulator as float32, exact below 2^24. On processors without the right instructions both saturate in 16 bits
on the way and are wrong, so each is tried once on extreme values before it is used. A plain float convolution,
float32 below 2^24 and float64 beyond, is exact everywhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import torch

from nnapi_lab.ops.geometry import Window, effective_filter

EXACT_FLOAT32 = 2**24
LEAST_DEPTH = 2  # torch 2.13 on CPU: `_int_mm` of [m, 1] and [1, n] is wrong

# x [n, h, w, c] codes → accumulators [n * rows * columns, channels], int32 or float32 holding integers
Sums = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter ready for sums: `codes` [out, h, w, in per group] with the zero point taken off, int16."""

    codes: np.ndarray
    groups: int = 1

    @property
    def fits_int8(self) -> bool:
        return bool(self.codes.min() >= -128 and self.codes.max() <= 127)

    @property
    def fans_out(self) -> bool:
        """Whether a group has one input channel and several outputs: oneDNN's integer sums are wrong (torch 2.13)."""
        return self.codes.shape[3] == 1 and self.codes.shape[0] > self.groups

    def largest_sum(self, zero_point: int, low: int, high: int) -> int:
        """No accumulator, nor any part of one, exceeds this for codes within low…high."""
        reach = max(abs(low - zero_point), abs(high - zero_point))
        return int(np.abs(self.codes.astype(np.int64)).reshape(self.codes.shape[0], -1).sum(axis=1).max()) * reach


class _Scratch(threading.local):
    """Accumulators of one operation at a time: memory that stays warm."""

    def __init__(self) -> None:
        self.buffer = torch.empty(0, dtype=torch.int32)

    def int32(self, rows: int, columns: int) -> torch.Tensor:
        if self.buffer.numel() < rows * columns:
            self.buffer = torch.empty(rows * columns, dtype=torch.int32)
        return self.buffer[: rows * columns].view(rows, columns)


_scratch = _Scratch()


def tensor_of(array: np.ndarray) -> torch.Tensor:
    """The array's memory as a tensor; a read-only one (a constant, a caller's view) is copied."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def channels_second(tensor: torch.Tensor) -> torch.Tensor:
    """[n, h, w, c] in memory as torch's [n, c, h, w]; a filter [out, h, w, in] likewise. No copy.

    With a single channel the strides do not tell the two orders apart, and torch 2.13 computes wrong sums when it
    takes channels to lie last (seen with one column of results and a stride): so they are written as its own.
    """
    n, height, width, channels = tensor.shape
    if channels == 1 and tensor.is_contiguous():
        return tensor.reshape(n, 1, height, width)
    return tensor.permute(0, 3, 1, 2)


def signed(codes: np.ndarray) -> np.ndarray:
    """uint8 codes as int8, 128 lower (one flipped bit); int8 codes as they are."""
    return codes if codes.dtype == np.int8 else (codes ^ np.uint8(0x80)).view(np.int8)


def unsigned(codes: np.ndarray) -> np.ndarray:
    """int8 codes as uint8, 128 higher; uint8 codes as they are."""
    return codes if codes.dtype == np.uint8 else codes.view(np.uint8) ^ np.uint8(0x80)


def matrix_sums(x: np.ndarray, weights: torch.Tensor) -> np.ndarray:
    """x [rows, k] codes times weights [k, columns] int8, codes taken as `signed`; int32 in shared memory."""
    out = _scratch.int32(x.shape[0], weights.shape[1])
    torch._int_mm(tensor_of(signed(x)), weights, out=out)
    return out.numpy()


def convolution_sums(filter: Filter, window: Window, zero_point: int, dtype: np.dtype, shape: tuple[int, ...]) -> Sums:
    """Sums of (x - zero_point) times the filter over a window, by the fastest way that is exact here."""
    info = np.iinfo(dtype)
    largest = filter.largest_sum(zero_point, info.min, info.max)
    trusted = filter.fits_int8 and not filter.fans_out and quantized_convolution_is_exact()
    if trusted and largest < EXACT_FLOAT32:
        return _quantized_sums(filter, window, zero_point, dtype, shape)
    if trusted and filter.groups == 1:
        return _split_sums(filter, window, zero_point, dtype, shape, parts=-(-largest // (EXACT_FLOAT32 // 2)))
    return _float_sums(filter, window, zero_point, largest)


def _split_sums(
    filter: Filter, window: Window, zero_point: int, dtype: np.dtype, shape: tuple[int, ...], parts: int
) -> Sums:
    """Input channels in groups small enough for float32, their sums added as integers."""
    depth = filter.codes.shape[3]
    cuts = np.linspace(0, depth, min(parts, depth) + 1).astype(int)
    ranges = [(int(a), int(b)) for a, b in pairwise(cuts)]
    pieces = [(a, b, Filter(np.ascontiguousarray(filter.codes[..., a:b]))) for a, b in ranges]
    info = np.iinfo(dtype)
    if any(piece.largest_sum(zero_point, info.min, info.max) >= EXACT_FLOAT32 for _, _, piece in pieces):
        return _float_sums(filter, window, zero_point, filter.largest_sum(zero_point, info.min, info.max))
    runs = [(a, b, _quantized_sums(piece, window, zero_point, dtype, (*shape[:3], b - a))) for a, b, piece in pieces]

    def run(x: np.ndarray) -> np.ndarray:
        total = None
        for a, b, sums in runs:
            part = sums(np.ascontiguousarray(x[..., a:b])).astype(np.int32)
            total = part if total is None else np.add(total, part, out=total)
        return total  # type: ignore[return-value]

    return run


def _quantized_sums(filter: Filter, window: Window, zero_point: int, dtype: np.dtype, shape: tuple[int, ...]) -> Sums:
    weights = channels_second(torch.from_numpy(filter.codes.astype(np.int8)))
    zero = zero_point if dtype == np.uint8 else zero_point + 128
    pad, pads, padded = torch_pads(window, shape)
    stride, dilation = [window.stride_h, window.stride_w], [window.dilation_h, window.dilation_w]
    scales = torch.ones(weights.shape[0])
    zeros = torch.zeros(weights.shape[0], dtype=torch.int64)
    packed = torch.ops.onednn.qconv_prepack(
        weights, scales, 1.0, zero, stride, pad, dilation, filter.groups, [padded[0], padded[3], *padded[1:3]]
    )
    convolve = torch.ops.onednn.qconv_pointwise.default

    def run(x: np.ndarray) -> np.ndarray:
        codes = unsigned(x)
        if pads is not None:
            codes = surrounded(codes, pads, zero)
        image = channels_second(tensor_of(codes))
        out = convolve(
            image, 1.0, zero, packed, scales, zeros, None, stride, pad, dilation, filter.groups, 1.0, 0,
            torch.float32, "none", [], "",
        )  # fmt: skip
        return rows_of(out)

    return run


def _float_sums(filter: Filter, window: Window, zero_point: int, largest: int) -> Sums:
    kind = np.float32 if largest < EXACT_FLOAT32 else np.float64
    weights = channels_second(torch.from_numpy(filter.codes.astype(kind)))

    def run(x: np.ndarray) -> np.ndarray:
        pad, pads, _ = torch_pads(window, x.shape)
        centered = np.subtract(x, zero_point, dtype=kind)
        if pads is not None:
            centered = surrounded(centered, pads, 0)
        out = torch.conv2d(
            channels_second(torch.from_numpy(centered)), weights, None, (window.stride_h, window.stride_w), pad,
            (window.dilation_h, window.dilation_w), filter.groups,
        )  # fmt: skip
        acc = rows_of(out)
        # A float64 sum may leave 32 bits, where a C int32 wraps; convolutions of NNAPI's own sizes do not.
        return acc if kind == np.float32 else acc.astype(np.int64).astype(np.int32)

    return run


def rows_of(image: torch.Tensor) -> np.ndarray:
    """A feature map [n, c, h, w] as rows [n * h * w, c]; no copy when channels lie last in memory."""
    return image.permute(0, 2, 3, 1).reshape(-1, image.shape[1]).numpy()


def torch_pads(
    window: Window, shape: tuple[int, ...]
) -> tuple[list[int], tuple[int, int, int, int] | None, tuple[int, ...]]:
    """(symmetric pads torch may do itself, pads to make beforehand, shape after those) for a map [n, h, w, c].

    A strided window that touches nothing but pads makes oneDNN crash (torch 2.13): such pads are made beforehand.
    """
    pads = (window.pad_top, window.pad_bottom, window.pad_left, window.pad_right)
    n, h, w, c = shape
    tall = effective_filter(window.filter_h, window.dilation_h)
    wide = effective_filter(window.filter_w, window.dilation_w)
    # A plan is drawn for sizes that are known.
    assert isinstance(tall, int)
    assert isinstance(wide, int)
    inside = max(pads[:2]) < tall <= h and max(pads[2:]) < wide <= w
    if pads[0] == pads[1] and pads[2] == pads[3] and (inside or not any(pads)):
        return [pads[0], pads[2]], None, tuple(shape)
    return [0, 0], pads, (n, h + pads[0] + pads[1], w + pads[2] + pads[3], c)


def surrounded(x: np.ndarray, pads: tuple[int, int, int, int], fill: int) -> np.ndarray:
    """x [n, h, w, c] with `fill` around it; pads are top, bottom, left, right."""
    top, bottom, left, right = pads
    n, h, w, c = x.shape
    out = np.empty((n, h + top + bottom, w + left + right, c), x.dtype)
    out[:, :top] = fill
    out[:, top + h :] = fill
    out[:, top : top + h, :left] = fill
    out[:, top : top + h, left + w :] = fill
    out[:, top : top + h, left : left + w] = x
    return out


# --- trust ---------------------------------------------------------------------------------------------


def _extremes(count: int, low: int, high: int, seed: int) -> np.ndarray:
    """Codes that make 16-bit intermediates overflow: mostly the ends of the range."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(low, high + 1, count)
    ends = rng.random(count)
    return np.where(ends < 0.4, high, np.where(ends < 0.8, low, codes))


@cache
def matrix_product_is_exact() -> bool:
    """Whether `torch._int_mm` is exact on this processor, tried on extreme values of several sizes."""
    for rows, depth, columns in ((1, 64, 8), (17, 960, 16), (49, 33, 5), (3, LEAST_DEPTH, 3), (1, 8, 1)):
        a = _extremes(rows * depth, -128, 127, 1).reshape(rows, depth).astype(np.int8)
        b = _extremes(depth * columns, -128, 127, 2).reshape(columns, depth).astype(np.int8)
        a[0], b[0] = -128, -128
        wanted = a.astype(np.int64) @ b.T.astype(np.int64)
        try:
            seen = torch._int_mm(torch.from_numpy(a), torch.from_numpy(b).t()).numpy()
        except RuntimeError:
            return False
        if not np.array_equal(seen, wanted):
            return False
    return True


@cache
def quantized_convolution_is_exact() -> bool:
    """Whether oneDNN's quantized convolution is exact here: dense, strided and depthwise, extreme values."""
    for depth, outs, size, groups, zero in (
        (64, 16, 3, 1, 0),
        (3, 8, 3, 1, 255),
        (16, 16, 3, 16, 7),
        (40, 8, 1, 1, 128),
    ):
        codes = _extremes(outs * size * size * (depth // groups), -128, 127, depth)
        filter = Filter(codes.reshape(outs, size, size, depth // groups).astype(np.int16), groups)
        x = _extremes(1 * 9 * 8 * depth, 0, 255, size).reshape(1, 9, 8, depth).astype(np.uint8)
        x[:, 2:6] = 255
        window = Window(size, size, 2, 1, size // 2, size // 2, size // 2, size // 2)
        wanted = _float_sums(filter, window, zero, EXACT_FLOAT32)(x)
        try:
            seen = _quantized_sums(filter, window, zero, np.dtype(np.uint8), x.shape)(x)
        except (RuntimeError, AttributeError):  # another torch: the operator is private and may be gone
            return False
        if not np.array_equal(seen, wanted):
            return False
    return True
