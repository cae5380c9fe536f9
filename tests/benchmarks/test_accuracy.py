"""Trained digits: the NNAPI models answer as PyTorch's do."""

from __future__ import annotations

from benchmarks import accuracy


def test_nnapi_gets_as_many_digits_right_as_pytorch() -> None:
    (scores,) = accuracy.run(1)
    assert scores.pictures == 450
    right = scores.right
    assert right["NNAPI float32"] == right["PyTorch float32"] >= 440
    assert abs(right["NNAPI int8"] - right["PyTorch int8 (qnnpack)"]) <= scores.parted
    # Five quantized operations, each at most one step off, and a picture whose two best logits are that close.
    assert scores.parted <= 2
    assert scores.data["int8_logits_worst_steps"] <= 5
    for name, count in right.items():
        assert f"{name:<24}  {count:>4}" in str(scores)
