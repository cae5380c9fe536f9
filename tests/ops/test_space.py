"""Depth, batch and space exchanged in blocks; shuffled channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnapi_lab.build import broken_rules
from nnapi_lab.ir.operand_types import Dim, OperandCode, OperandType, Quant
from nnapi_lab.ops.spec import Call, required_level
from nnapi_lab.ops.use import run, use

F32, I32 = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_INT32
Q8, Q8S = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED


def ints(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def ramp(*shape: int) -> np.ndarray:
    """0, 1, 2, … as float32 of a shape."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


NO_PADS = ints([0, 0], [0, 0])

VALUES: dict[str, tuple[Callable[[], Any], Any]] = {
    "depth_to_space": (
        lambda: run("DEPTH_TO_SPACE", input=ramp(1, 1, 1, 4), block_size=2)[0, :, :, 0],
        [[0, 1], [2, 3]],
    ),
    "depth_to_space_keeps_channels_together": (
        lambda: run("DEPTH_TO_SPACE", input=ramp(1, 1, 1, 8), block_size=2)[0],
        [[[0, 1], [2, 3]], [[4, 5], [6, 7]]],
    ),
    "depth_to_space_nchw": (
        lambda: run("DEPTH_TO_SPACE", input=ramp(1, 4, 1, 2), block_size=2, nchw=True)[0, 0],
        [[0, 2, 1, 3], [4, 6, 5, 7]],
    ),
    "space_to_depth": (
        lambda: run("SPACE_TO_DEPTH", input=ramp(1, 2, 4, 1), block_size=2)[0, 0],
        [[0, 1, 4, 5], [2, 3, 6, 7]],
    ),
    "batch_to_space": (
        lambda: run("BATCH_TO_SPACE_ND", input=ramp(4, 1, 1, 1), block_shape=ints(2, 2))[0, :, :, 0],
        [[0, 1], [2, 3]],
    ),
    "batch_to_space_two_images": (  # image n of position p is number 2 p + n
        lambda: run("BATCH_TO_SPACE_ND", input=ramp(4, 1, 1, 1), block_shape=ints(1, 2))[:, 0, :, 0],
        [[0, 2], [1, 3]],
    ),
    "space_to_batch": (
        lambda: run("SPACE_TO_BATCH_ND", input=ramp(1, 2, 2, 1), block_shape=ints(2, 2), paddings=NO_PADS).ravel(),
        [0, 1, 2, 3],
    ),
    "space_to_batch_pads": (
        lambda: run(
            "SPACE_TO_BATCH_ND",
            input=ramp(1, 1, 2, 1) + 1,
            block_shape=ints(1, 2),
            paddings=ints([0, 0], [1, 1]),
        )[:, 0, :, 0],
        [[0, 2], [1, 0]],  # 0 1 2 0
    ),
    "space_to_batch_pads_with_the_zero_point": (
        lambda: run(
            "SPACE_TO_BATCH_ND",
            input=(np.array([9], np.uint8).reshape(1, 1, 1, 1), Quant(1, 5)),
            block_shape=ints(1, 1),
            paddings=ints([0, 0], [1, 0]),
        ).ravel(),
        [5, 9],
    ),
    "channel_shuffle": (
        lambda: run("CHANNEL_SHUFFLE", input=ramp(6), num_groups=2, axis=0),
        [0, 3, 1, 4, 2, 5],
    ),
    "channel_shuffle_from_the_end": (
        lambda: run("CHANNEL_SHUFFLE", input=ramp(4, 2), num_groups=2, axis=-2),
        [[0, 1], [4, 5], [2, 3], [6, 7]],
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    make, expected = VALUES[name]
    np.testing.assert_array_equal(make(), expected)


# --- rules -------------------------------------------------------------------------------------------------


def f32(*shape: int | Dim) -> OperandType:
    return OperandType(F32, shape)


def to_batch(input: Any = None, block_shape: Any = None, paddings: Any = None) -> Call:
    return use(
        "SPACE_TO_BATCH_ND",
        input=f32(1, 4, 4, 1) if input is None else input,
        block_shape=ints(2, 2) if block_shape is None else block_shape,
        paddings=NO_PADS if paddings is None else paddings,
    )


def to_space(input: OperandType, block_shape: Any) -> Call:
    return use("BATCH_TO_SPACE_ND", input=input, block_shape=block_shape)


def shuffle(input: OperandType, num_groups: int, axis: int) -> Call:
    return use("CHANNEL_SHUFFLE", input=input, num_groups=num_groups, axis=axis)


BROKEN: dict[str, Callable[[], Call]] = {
    "DEPTH_TO_SPACE.C1": lambda: use("DEPTH_TO_SPACE", input=f32(1, 2, 2, 4), block_size=0),
    "DEPTH_TO_SPACE.C2": lambda: use("DEPTH_TO_SPACE", input=f32(1, 2, 2, 6), block_size=2),
    "SPACE_TO_DEPTH.C1": lambda: use("SPACE_TO_DEPTH", input=f32(1, 2, 2, 4), block_size=-1),
    "SPACE_TO_DEPTH.C2": lambda: use("SPACE_TO_DEPTH", input=f32(1, 2, 3, 4), block_size=2),
    "BATCH_TO_SPACE_ND.C1": lambda: to_space(f32(4, 1, 1, 1), ints(2, 0)),
    "BATCH_TO_SPACE_ND.C2": lambda: to_space(f32(3, 1, 1, 1), ints(2, 2)),
    "SPACE_TO_BATCH_ND.C1": lambda: to_batch(block_shape=ints(2, 2, 2)),
    "SPACE_TO_BATCH_ND.C2": lambda: to_batch(paddings=ints([0, 0], [-2, 0])),
    "SPACE_TO_BATCH_ND.C3": lambda: to_batch(paddings=ints([1, 0], [0, 0])),
    "CHANNEL_SHUFFLE.C1": lambda: shuffle(f32(1, 6), 2, 2),
    "CHANNEL_SHUFFLE.C2": lambda: shuffle(f32(1, 6), 4, 1),
}
ALSO_BROKEN: dict[str, tuple[str, Callable[[], Call]]] = {
    "block_type": ("BATCH_TO_SPACE_ND.C1", lambda: to_space(f32(4, 1, 1, 1), OperandType(I32, (3,)))),
    "paddings_shape": ("SPACE_TO_BATCH_ND.C2", lambda: to_batch(paddings=ints([0, 0, 0, 0]))),
    "odd_width": ("SPACE_TO_BATCH_ND.C3", lambda: to_batch(f32(1, 4, 3, 1))),
    "odd_height": ("SPACE_TO_DEPTH.C2", lambda: use("SPACE_TO_DEPTH", input=f32(1, 3, 2, 4), block_size=2)),
    "no_groups": ("CHANNEL_SHUFFLE.C2", lambda: shuffle(f32(1, 6), 0, 1)),
    "low_axis": ("CHANNEL_SHUFFLE.C1", lambda: shuffle(f32(1, 6), 2, -3)),
    "rank": ("CHANNEL_SHUFFLE.RANK", lambda: shuffle(f32(1, 1, 1, 1, 6), 2, 1)),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_told(rule: str) -> None:
    assert [finding.rule for finding in broken_rules(BROKEN[rule](), "here")] == [rule]


@pytest.mark.parametrize("name", ALSO_BROKEN)
def test_rules_are_told_in_these_cases_too(name: str) -> None:
    rule, make = ALSO_BROKEN[name]
    assert [finding.rule for finding in broken_rules(make(), "here")] == [rule]


def test_unknown_sizes_stay_unknown() -> None:
    n, unknown = Dim("n"), Dim("?")
    flexible, rankless = f32(n, 4, unknown, 4), OperandType(F32, None)
    later = OperandType(I32, (2,))
    shapes = {
        "depth_to_space": (use("DEPTH_TO_SPACE", input=flexible, block_size=2), (n, 8, unknown, 1)),
        "block_later": (
            use("DEPTH_TO_SPACE", input=flexible, block_size=OperandType(OperandCode.INT32)),
            (n, unknown, unknown, unknown),
        ),
        "space_to_depth": (use("SPACE_TO_DEPTH", input=flexible, block_size=2), (n, 2, unknown, 16)),
        "no_rank": (use("SPACE_TO_DEPTH", input=rankless, block_size=2), (unknown,) * 4),
        "batch_to_space": (to_space(flexible, ints(2, 2)), (unknown, 8, unknown, 4)),
        "batch_to_space_later": (to_space(flexible, later), (unknown, unknown, unknown, 4)),
        "space_to_batch": (to_batch(flexible), (unknown, 2, unknown, 4)),
        "pads_later": (to_batch(f32(1, 4, 4, 1), None, OperandType(I32, (2, 2))), (4, unknown, unknown, 1)),
        "shuffle": (shuffle(flexible, 2, 3), (n, 4, unknown, 4)),
        "shuffle_no_rank": (shuffle(rankless, 2, -1), None),
    }
    for name, (call, shape) in shapes.items():
        assert call.out.shape == shape, name
        assert broken_rules(call, "here") == [], name


def test_levels() -> None:
    def q8(code: OperandCode, zero_point: int) -> OperandType:
        return OperandType(code, (4, 4, 4, 4), Quant(1, zero_point))

    image = f32(4, 4, 4, 4)
    levels = {
        "depth_to_space": (use("DEPTH_TO_SPACE", input=image, block_size=2), 1),
        "layout": (use("SPACE_TO_DEPTH", input=image, block_size=2, nchw=True), 3),
        "to_space": (to_space(image, ints(2, 2)), 2),
        "to_batch": (to_batch(image), 2),
        "zero_point_0": (to_batch(q8(Q8, 0)), 2),
        "zero_point": (to_batch(q8(Q8, 5)), 3),
        "zero_point_unpadded": (to_space(q8(Q8, 5), ints(2, 2)), 2),
        "signed": (to_batch(q8(Q8S, 5)), 4),
        "shuffle": (shuffle(image, 2, 3), 3),
    }
    for name, (call, level) in levels.items():
        assert required_level(call)[0] == level, name


def test_codes_keep_their_quantization() -> None:
    held = OperandType(Q8, (4, 4, 4, 4), Quant(0.5, 3))
    calls = [
        use("DEPTH_TO_SPACE", input=held, block_size=2), use("SPACE_TO_DEPTH", input=held, block_size=2),
        to_space(held, ints(2, 2)), to_batch(held), shuffle(held, 2, 3),
    ]  # fmt: skip
    assert {call.out.quant for call in calls} == {Quant(0.5, 3)}


# --- laws --------------------------------------------------------------------------------------------------

small = st.integers(1, 3)


@given(st.tuples(small, small, small, small), small, st.booleans())
def test_depth_and_space_undo_each_other(shape: tuple[int, ...], block: int, nchw: bool) -> None:
    n, h, w, c = shape
    depth = c * block * block
    x = ramp(n, depth, h, w) if nchw else ramp(n, h, w, depth)
    spread = run("DEPTH_TO_SPACE", input=x, block_size=block, nchw=nchw)
    np.testing.assert_array_equal(run("SPACE_TO_DEPTH", input=spread, block_size=block, nchw=nchw), x)


@given(st.tuples(small, small, small, small), small, small, st.booleans())
def test_batch_and_space_undo_each_other(shape: tuple[int, ...], block_h: int, block_w: int, nchw: bool) -> None:
    n, h, w, c = shape
    x = ramp(n, c, h * block_h, w * block_w) if nchw else ramp(n, h * block_h, w * block_w, c)
    block = ints(block_h, block_w)
    batch = run("SPACE_TO_BATCH_ND", input=x, block_shape=block, paddings=NO_PADS, nchw=nchw)
    np.testing.assert_array_equal(run("BATCH_TO_SPACE_ND", input=batch, block_shape=block, nchw=nchw), x)


@given(small, small, st.integers(0, 3))
def test_shuffling_with_the_other_factor_undoes_a_shuffle(groups: int, size: int, axis: int) -> None:
    x = np.moveaxis(ramp(2, 1, 3, groups * size), 3, axis)
    shuffled = run("CHANNEL_SHUFFLE", input=x, num_groups=groups, axis=axis)
    np.testing.assert_array_equal(run("CHANNEL_SHUFFLE", input=shuffled, num_groups=size, axis=axis - 4), x)


@given(st.integers(1, 2), st.integers(0, 2**32 - 1))
def test_a_dilated_pool_is_a_pool_of_batches(dilation: int, seed: int) -> None:
    """What SPACE_TO_BATCH_ND is for: windows with gaps become dense ones on each sub-image."""
    x = np.random.default_rng(seed).standard_normal((1, 6, 6, 2)).astype(np.float32)
    block = ints(dilation, dilation)
    window = {f"pad_{side}": 0 for side in ("left", "right", "top", "bottom")}
    window |= {"stride_w": 1, "stride_h": 1, "filter_w": 2, "filter_h": 2, "fuse": 0}
    batch = run("SPACE_TO_BATCH_ND", input=x, block_shape=block, paddings=NO_PADS)
    pooled = run("BATCH_TO_SPACE_ND", input=run("MAX_POOL_2D", input=batch, **window), block_shape=block)
    kept = 6 - dilation
    direct = np.maximum.reduce(
        [x[:, i : i + kept, j : j + kept] for i in (0, dilation) for j in (0, dilation)]
    )  # fmt: skip
    np.testing.assert_array_equal(pooled, direct)
