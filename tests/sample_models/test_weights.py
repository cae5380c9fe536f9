"""Drawing is seeded and local; settling measures exactly the batch it is given."""

from __future__ import annotations

import torch
from torch import nn

from sample_models.weights import draw, seeded, settle_batch_norm


def small(seed: int) -> nn.Sequential:
    with seeded(seed):
        model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.Flatten(), nn.Linear(64 * 36, 50, bias=False))
        draw(model, linear_gain=2.0)
    return model


def test_seeded_repeats_and_leaves_the_global_generator() -> None:
    state = torch.get_rng_state()
    first, again, other = small(1), small(1), small(2)
    assert torch.equal(torch.get_rng_state(), state)
    for ours, theirs, others in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert not torch.equal(ours, others)


def test_drawn_spreads() -> None:
    conv, norm, _, linear = small(3)
    # fan-out 64·3·3, so a standard deviation of √(2/576) = 0.0589; 1728 draws know it to 2 %.
    assert abs(float(conv.weight.std()) - 0.0589) < 0.005
    assert float(conv.bias.abs().max()) > 0
    # linear_gain / √fan-in = 2 / 48.
    assert abs(float(linear.weight.std()) - 2 / 48) < 0.002
    assert 0.5 <= float(norm.weight.min()) < 0.7
    assert 1.3 < float(norm.weight.max()) <= 1.5


def test_settling_stores_the_statistics_of_the_batch() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.5)).train()
    images = torch.tensor([[1.0, 3.0], [10.0, 30.0]]).reshape(1, 2, 1, 2).repeat(2, 1, 1, 1)
    settle_batch_norm(model, images)
    norm = model[0]
    assert norm.running_mean.tolist() == [2.0, 20.0]
    # Four values, two each of mean ± 1 and mean ± 10; PyTorch stores the unbiased variance, divided by 3.
    torch.testing.assert_close(norm.running_var, torch.tensor([4 / 3, 400 / 3]))
    assert norm.momentum == 0.1
    assert not any(part.training for part in model.modules())


def test_settling_forgets_what_was_before() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1))
    settle_batch_norm(model, torch.full((1, 1, 2, 2), 100.0))
    settle_batch_norm(model, torch.tensor([1.0, 3.0]).reshape(1, 1, 1, 2))
    assert model[0].running_mean.tolist() == [2.0]
