"""Accuracy on the 450 digits training never saw: PyTorch float32, PyTorch int8, NNAPI int8, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

import nnapi_lab as lab
from nnapi_lab.torchscript.capture import quiet
from sample_models import digits
from sample_models.quantization import engine


@dataclass(frozen=True)
class Scores:
    """Right answers by who computed them, and on how many pictures the two int8 answers part."""

    right: dict[str, int]
    pictures: int
    parted: int
    logits_apart: float
    scale: float

    @property
    def data(self) -> dict[str, Any]:
        return {
            "title": "digits accuracy",
            "pictures": self.pictures,
            "right": self.right,
            "int8_answers_that_differ": self.parted,
            "int8_logits_worst_steps": round(self.logits_apart / self.scale),
        }

    def __str__(self) -> str:
        lines = [f"digits: right answers of {self.pictures}"]
        lines += [
            f"  {name:<24}  {count:>4}  {100 * count / self.pictures:>6.2f} %" for name, count in self.right.items()
        ]
        steps = round(self.logits_apart / self.scale)
        lines.append(
            f"  int8: NNAPI answers differently from PyTorch on {self.parted}; logits at most {steps} steps apart"
        )
        return "\n".join(lines)


def run(rounds: int) -> list[Scores]:
    """The scores; there is nothing to repeat."""
    images, labels = digits.test_set()
    with quiet(), torch.no_grad():
        floating, quantized = digits.float32()[0], digits.quantized()[0]
        with engine("qnnpack"):
            theirs = quantized(images)
        answers = {
            "PyTorch float32": floating(images),
            "NNAPI float32": lab.lower(floating, images).run(images),
            "PyTorch int8 (qnnpack)": theirs,
            "NNAPI int8": lab.lower(quantized, images).run(images),
        }
    right = {name: int((logits.argmax(1) == labels).sum()) for name, logits in answers.items()}
    ours = answers["NNAPI int8"]
    parted = int((ours.argmax(1) != theirs.argmax(1)).sum())
    scale = float(quantized.classifier[-1].scale)
    return [Scores(right, len(labels), parted, float((ours - theirs).abs().max()), scale)]
