"""A diagnosis names everything at once, and its programs really meet the obstacles they stand for."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnapi_lab.diagnosis import diagnose
from nnapi_lab.diagnosis.diagnose import segments_of
from nnapi_lab.diagnosis.upstream import silent_faults
from nnapi_lab.diagnosis.work import multiply_adds
from nnapi_lab.errors import LoweringError
from nnapi_lab.torchscript.capture import capture


class Formula(nn.Module):
    def __init__(self, formula: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.formula = formula
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(*self.parts, x)


def model(formula: Callable[..., Tensor], *parts: nn.Module) -> nn.Module:
    return Formula(formula, *parts).eval()


BLOCKED = {
    "erf": lambda x: torch.erf(x),
    "median": lambda x: x.median(1).values,
    "bitwise": lambda x: x.int() & 3,
    "unique_sizes": lambda x: x.nonzero(),
    "determinant": lambda x: torch.linalg.det(x[..., :3, :3]),
}
X = torch.linspace(-1, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)


@pytest.mark.parametrize("name", BLOCKED)
def test_its_program_meets_the_same_obstacle(name: str) -> None:
    found = diagnose(model(BLOCKED[name]), X, upstream=False)
    assert found.obstacles
    for obstacle in found.obstacles:
        program = obstacle.reproduction
        assert 0 < len(program.splitlines()) <= 15
        with pytest.raises(LoweringError) as refused:
            exec(program, {})
        assert obstacle.refusal.rule in {refusal.rule for refusal in refused.value.refusals}


def test_everything_at_once_with_its_share_of_the_work() -> None:
    conv = nn.Conv2d(3, 8, 3, padding=1)
    found = diagnose(model(lambda conv, x: torch.erf(conv(torch.erf(x))), conv), X)
    assert not found.ok
    assert [obstacle.refusal.rule for obstacle in found.obstacles] == ["aten::erf", "aten::erf"]
    assert found.affected_nodes == 2
    assert found.affected_multiply_adds == 0.0  # the convolution, all of the multiply-adds, is not affected
    assert [segment.place for segment in found.segments] == ["CPU", "NNAPI", "CPU"]
    assert found.levels == ()
    assert found.upstream is not None
    assert "Unsupported node kind ('aten::erf')" in found.upstream.error
    assert list(found.grouped()) == ["FORBIDDEN aten::erf"]
    told = json.loads(found.to_json())
    assert told["obstacles"][0]["fix"]
    assert "test_diagnose.py" in told["obstacles"][0]["python"]


def test_a_model_that_lowers_says_at_which_levels() -> None:
    found = diagnose(model(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")), X, upstream=False)
    assert found.ok
    assert found.feature_level == 4  # half_pixel_centers
    assert {verdict.level: verdict.lowers for verdict in found.levels} == {
        1: False, 2: False, 3: False, 4: True, 6: True, 7: True,
    }  # fmt: skip


def test_an_old_target_is_an_obstacle() -> None:
    upsample = model(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"))
    found = diagnose(upsample, X, api_level=29, upstream=False)
    (refusal,) = found.refusals
    assert (refusal.kind, refusal.rule) == ("FORBIDDEN", "RESIZE_BILINEAR.LEVEL")
    with pytest.raises(ValueError, match="API levels are 27 to 31"):
        diagnose(upsample, X, api_level=33)


def test_it_never_raises_on_a_model() -> None:
    found = diagnose(nn.Conv2d(3, 4, 3).train(), X)
    assert [refusal.rule for refusal in found.refusals] == ["CAPTURE"]
    assert "training mode" in str(found)
    assert "there is no such file" in str(diagnose("missing.pt", X))


MULTIPLY_ADDS = {
    # outputs 2·8·4·4, each from 3·3·3 weights
    "conv": (lambda conv, x: conv(x), [nn.Conv2d(3, 8, 3, padding=1)], 2 * 8 * 16 * 27),
    # depthwise: each output from 1·3·3 weights
    "depthwise": (lambda conv, x: conv(x), [nn.Conv2d(3, 3, 3, groups=3)], 2 * 3 * 4 * 9),
    # transposed: inputs 2·3·4·4, each into 5·2·2 outputs
    "transposed": (lambda conv, x: conv(x), [nn.ConvTranspose2d(3, 5, 2, 2)], 2 * 3 * 16 * 20),
    "linear": (lambda fc, x: fc(x), [nn.Linear(4, 5)], 2 * 3 * 4 * 5 * 4),
    "matmul": (lambda x: x @ x, [], 2 * 3 * 4 * 4 * 4),
    "relu": (lambda x: x.relu(), [], 0),
}


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_multiply_adds(name: str) -> None:
    formula, parts, expected = MULTIPLY_ADDS[name]
    graph = capture(model(formula, *parts), X).graph
    assert sum(multiply_adds(graph, node) for node in graph.nodes) == expected


# Accepted by PyTorch's converter, and wrong (defects B4, B7, B8, B10, B16 of its study).
SILENT = {
    "padded_average": (lambda x: F.avg_pool2d(x, 3, 2, 1), 1),
    "average_without_padding": (lambda x: F.avg_pool2d(x, 3, 2), 0),
    "uncounted_padding": (lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), 0),
    "ceil_mode": (lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True), 1),
    "conversion": (lambda x: x.to(torch.int32), 1),
    "stride": (lambda x: x[:, :, ::2], 1),
    "plain_slice": (lambda x: x[:, :, 1:3], 0),
    "output_padding": (lambda conv, x: conv(x), 1),
}


@pytest.mark.parametrize("name", SILENT)
def test_silent_faults_of_the_peer(name: str) -> None:
    formula, count = SILENT[name]
    parts = [nn.ConvTranspose2d(3, 3, 3, 2, output_padding=1)] if name == "output_padding" else []
    assert len(silent_faults(capture(model(formula, *parts), X).graph)) == count


def test_segments_of_nothing_affected_is_one_run() -> None:
    graph = capture(model(lambda x: (x + 1).relu()), X).graph
    (only,) = segments_of(graph, set())
    assert (only.place, only.nodes) == ("NNAPI", 2)
