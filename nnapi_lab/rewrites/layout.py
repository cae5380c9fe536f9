"""Why values, weights and axes stand in another order in NNAPI than in PyTorch."""

from __future__ import annotations

from nnapi_lab.rewrites.rule import Rule

NHWC_PLACEMENT = Rule(
    id="layout.nchw_to_nhwc",
    kind="layout",
    title="Feature map kept channels last",
    why="PyTorch's shape is always N,C,H,W (channels_last only changes strides); NNAPI's feature maps are dense "
    "N,H,W,C. The value is the same, its elements stand in another order.",
    formula="operand[n,h,w,c] = value[n,c,h,w]; perm = (0,2,3,1)",
    source="NNAPI NeuralNetworks.h, data layout of CONV_2D; torch memory format notes",
    effect="copying the memory as it is gives wrong numbers without any shape error when C = H = W",
)
TRANSPOSE_INSERTED = Rule(
    id="layout.transpose_inserted",
    kind="layout",
    title="TRANSPOSE inserted",
    why="The next operation needs the elements in another order than the value is stored in, and no constant can "
    "absorb the permutation.",
    formula="out = TRANSPOSE(in, perm)",
    source="NNAPI TRANSPOSE (feature level 2)",
    effect="one more operation that moves every element",
)
ELEMENTS_PICKED = Rule(
    id="layout.elements_picked",
    kind="layout",
    title="Elements picked one by one",
    why="TRANSPOSE takes no int32 tensors. GATHER does: over the flat tensor, with a constant list of positions.",
    formula="out = RESHAPE(GATHER(RESHAPE(in, [n]), order), shape)",
    source="NNAPI TRANSPOSE tensor types; GATHER (level 3), RESHAPE of int32 (level 6)",
    effect="none: integers beyond 2^24 would lose digits if they went through float32",
)
WEIGHT_OHWI = Rule(
    id="layout.oihw_to_ohwi",
    kind="layout",
    title="Convolution weights: OIHW to OHWI",
    why="PyTorch stores a filter as out, in, height, width; NNAPI wants the input channel last, whatever the "
    "layout of the feature map.",
    formula="W'[o,h,w,i] = W[o,i,h,w]; perm = (0,2,3,1)",
    source="NNAPI CONV_2D input 1, [depth_out, filter_height, filter_width, depth_in]",
    effect="garbage output",
)
WEIGHT_1HWC = Rule(
    id="layout.depthwise_1hwc",
    kind="layout",
    title="Depthwise weights: [C·m,1,H,W] to [1,H,W,C·m]",
    why="A convolution with groups equal to its input channels is NNAPI's DEPTHWISE_CONV_2D, whose filter has the "
    "channel last and a leading 1. Both number the output channels k·m + q, so nothing is reordered.",
    formula="W'[0,h,w,k·m+q] = W[k·m+q,0,h,w]; perm = (1,2,3,0); depth_multiplier m = C_out / C_in",
    source="NNAPI DEPTHWISE_CONV_2D input 1, [1, filter_height, filter_width, depth_out]",
    effect="garbage output",
)
WEIGHT_IOHW = Rule(
    id="layout.iohw_to_ohwi",
    kind="layout",
    title="Transposed convolution weights: IOHW to OHWI",
    why="PyTorch stores a transposed convolution's filter as in, out, height, width; NNAPI wants out first and in "
    "last.",
    formula="W'[o,h,w,i] = W[i,o,h,w]; perm = (1,2,3,0)",
    source="NNAPI TRANSPOSE_CONV_2D input 1, [depth_out, filter_height, filter_width, depth_in]",
    effect="garbage output",
)
FLATTENED_NHWC = Rule(
    id="layout.flatten_nhwc",
    kind="layout",
    title="Flattened in NHWC order",
    why="flatten walks C,H,W; the feature map lies in memory as H,W,C. RESHAPE keeps memory order, so the vector's "
    "elements are permuted; the consumer must know.",
    formula="operand[n, (h·W + w)·C + c] = value[n, (c·H + h)·W + w]",
    source="NNAPI RESHAPE keeps element order; torch.flatten walks logical order",
    effect="relative error of order 1 in everything that follows",
)
WEIGHT_COLUMNS = Rule(
    id="layout.linear_columns",
    kind="layout",
    title="Linear weight columns permuted",
    why="The input vector was flattened in H,W,C order. Permuting the weight's columns the same way once, at "
    "compile time, costs nothing at run time.",
    formula="W'[o, (h·W + w)·C + c] = W[o, (c·H + h)·W + w]",
    source="NNAPI FULLY_CONNECTED input 1, [num_units, input_size]",
    effect="scrambled features: measured 16.5 against 1.9e-6 with the rewrite",
)
WEIGHT_ROWS = Rule(
    id="layout.linear_rows",
    kind="layout",
    title="Linear weight rows permuted",
    why="The result is viewed as a feature map that the next operation wants channels last. Permuting the weight's "
    "rows and the bias the same way once, at compile time, gives it in that order.",
    formula="W'[(h·W + w)·C + c, i] = W[(c·H + h)·W + w, i]; b' likewise",
    source="NNAPI FULLY_CONNECTED inputs 1 and 2, [num_units, input_size] and [num_units]",
    effect="none: the same sums in another order; it saves a TRANSPOSE",
)
CONSTANT_PERMUTED = Rule(
    id="layout.constant_permuted",
    kind="layout",
    title="Constant stored channels last",
    why="A constant that meets a channels-last feature map is permuted at compile time instead of transposing the "
    "feature map. Broadcasting aligns physical dimensions from the right, so it is first given full rank.",
    formula="[C,1,1] → [1,C,1,1] → [1,1,1,C]",
    source="NNAPI broadcasting rule of ADD and MUL",
    effect="a [W] vector would be added along C when C = W",
)
AXIS_MAPPED = Rule(
    id="layout.axis_mapped",
    kind="layout",
    title="Dimension argument mapped to the stored order",
    why="A dim argument names a logical dimension (and may be negative); an NNAPI axis names a stored one.",
    formula="d < 0: d += rank; axis = position of d in the stored order (NCHW→NHWC: [0,3,1,2][d])",
    source="NNAPI CONCATENATION, SOFTMAX, MEAN …: axis of the operand",
    effect="the operation works along H instead of C; PyTorch's own converter does this for softmax and slice",
)
