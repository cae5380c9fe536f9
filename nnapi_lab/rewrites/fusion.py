"""Why several TorchScript nodes become one NNAPI operation."""

from __future__ import annotations

from nnapi_lab.rewrites.rule import Rule

BATCH_NORM_FOLDED = Rule(
    id="fusion.batch_norm",
    kind="fusion",
    title="Batch norm folded into the convolution",
    why="In eval mode batch norm is one multiplication and one addition per channel, which the convolution's "
    "weights and bias can carry. NNAPI has no batch norm.",
    formula="g[o] = gamma[o] / sqrt(var[o] + eps); W'[o] = g[o]·W[o]; b'[o] = g[o]·(b[o] - mean[o]) + beta[o]",
    source="torch.nn.functional.batch_norm with running statistics; no such NNAPI operation",
    effect="about 1e-6 relative",
)
ACTIVATION_FUSED = Rule(
    id="fusion.activation",
    kind="fusion",
    title="Activation fused into its producer",
    why="Many NNAPI operations end with a FuseCode that clamps the result. A separate RELU, RELU1 or RELU6 whose "
    "input nobody else reads becomes that code.",
    formula="RELU6(CONV_2D(x, fuse=NONE)) = CONV_2D(x, fuse=RELU6)",
    source="NNAPI FuseCode; AOSP 13 ActivationFunctor.h",
    effect="none: the same clamp, one operation and one pass over memory less",
)
PAD_FUSED = Rule(
    id="fusion.pad",
    kind="fusion",
    title="Zero padding moved into the convolution",
    why="A PAD with zeros in front of a convolution is the convolution's own explicit padding.",
    formula="CONV_2D(PAD(x, p), pad=0) = CONV_2D(x, pad=p)",
    source="NNAPI CONV_2D explicit padding",
    effect="none",
)
