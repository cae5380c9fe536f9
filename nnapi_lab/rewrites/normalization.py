"""Why norms over dimensions become INSTANCE_NORMALIZATION, or a mean and a variance."""

from __future__ import annotations

from nnapi_lab.rewrites.rule import Rule

STANDARDIZED = Rule(
    id="shape.standardized",
    kind="decomposition",
    title="Layer and group norm as INSTANCE_NORMALIZATION",
    why="NNAPI standardizes over the rows and columns of each channel only. The elements a layer norm or group norm "
    "takes together are brought into the row dimension by a RESHAPE; weight and bias follow as MUL and ADD, since "
    "NNAPI's gamma and beta are single numbers.",
    formula="RESHAPE [outer, elements, 1, inner]; INSTANCE_NORMALIZATION(gamma=1, beta=0); MUL(weight); ADD(bias)",
    source="NNAPI INSTANCE_NORMALIZATION (level 3); torch layer_norm, group_norm: biased variance, eps inside the root",
    effect="about 3e-7",
)
MOMENTS = Rule(
    id="shape.moments",
    kind="decomposition",
    title="Standardized by mean and variance",
    why="The elements taken together do not lie together: channels of a group are interleaved with pixels when "
    "channels are last. MEAN over both dimensions costs less than two TRANSPOSEs.",
    formula="d = x - MEAN(x); y = d · RSQRT(MEAN(d²) + eps)",
    source="NNAPI MEAN (level 2), RSQRT (level 3)",
    effect="about 3e-7",
)
RESPONSE = Rule(
    id="fusion.response_normalization",
    kind="fusion",
    title="local_response_norm recognised",
    why="PyTorch writes local_response_norm as square, pad, average over a window of channels, scale, power and "
    "division; on channels last it is one NNAPI operation. PyTorch averages, NNAPI sums: alpha is divided by the size.",
    formula="y = x / (k + alpha/size · sum of x² over [c - r, c + r])^beta, r = (size - 1)/2, size odd",
    source="NNAPI LOCAL_RESPONSE_NORMALIZATION (level 1); torch.nn.functional.local_response_norm",
    effect="4e-2 if alpha were not divided",
)
