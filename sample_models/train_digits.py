"""Train the digits network and write digits.npz beside this file: `python -m sample_models.train_digits`.

Adam, 40 epochs of batches of 64 over the 1347 training pictures, every batch shifted by up to one pixel,
learning rate falling along a cosine. Everything is seeded and runs in one thread, so a second run writes
the same accuracy and, on the same kind of machine, the same bytes. Takes some seconds. Test pictures are
only looked at once, at the end.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sample_models.digits import WEIGHTS, DigitsNet, test_set, train_set
from sample_models.weights import seeded

SEED = 1797
EPOCHS = 40
BATCH = 64
LEARNING_RATE = 3e-3


def train(epochs: int = EPOCHS) -> DigitsNet:
    """The trained network, in eval mode; the caller's random generator is left alone."""
    images, labels = train_set()
    with seeded(SEED):
        model = DigitsNet()
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
        steps = epochs * (len(images) // BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        loss = nn.CrossEntropyLoss(label_smoothing=0.05)
        for _ in range(epochs):
            # A last batch that is not full is dropped: schedule and batch norm both like equal steps.
            for chosen in torch.randperm(len(images)).split(BATCH)[: len(images) // BATCH]:
                optimizer.zero_grad()
                loss(model(shifted(images[chosen])), labels[chosen]).backward()
                optimizer.step()
                schedule.step()
    return model.eval()


def shifted(images: torch.Tensor) -> torch.Tensor:
    """Move the whole batch by −1, 0 or 1 pixel in each direction, drawn anew; the edge is blank paper."""
    down, across = torch.randint(0, 3, (2,)).tolist()
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    return padded[:, :, down : down + 8, across : across + 8]


@torch.no_grad()
def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of pictures whose largest logit is the label, 0…1."""
    return float((model(images).argmax(1) == labels).float().mean())


def save(model: nn.Module, path: Path) -> None:
    """Write the parameters as a compressed .npz, whole or not at all."""
    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    unfinished = path.with_name(path.name + ".part")
    try:
        with unfinished.open("wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def main() -> None:
    """Train, print the accuracy on both parts, save."""
    parser = argparse.ArgumentParser(description="Train the digits network and store its weights.")
    parser.add_argument("-o", "--output", type=Path, default=WEIGHTS, help="where to write (default: %(default)s)")
    output = parser.parse_args().output
    # One thread: sums in one order, hence the same weights every time.
    torch.set_num_threads(1)
    model = train()
    for name, (images, labels) in (("train", train_set()), ("test", test_set())):
        print(f"{name}: {accuracy(model, images, labels):.4f} of {len(labels)} pictures")
    save(model, output)
    print(f"{output.name}: {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
