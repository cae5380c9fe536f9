"""Why shapes change, operations vanish, or one operation becomes several."""

from __future__ import annotations

from nnapi_lab.rewrites.rule import Rule

IDENTITY_DROPPED = Rule(
    id="identity.dropped",
    kind="identity",
    title="Does nothing here",
    why="In eval mode dropout, contiguous, detach and clone return their input's values: no operation is needed.",
    formula="y = x",
    source="torch.nn.Dropout in eval mode; memory formats have no meaning in NNAPI",
)
RESIZE_SIMPLIFIED = Rule(
    id="shape.resize",
    kind="shape",
    title="Upsampling to a fixed size",
    why="PyTorch's interpolation takes an output size or scale factors, and samples by the factors when they are "
    "given. NNAPI takes the output width and height (in this order) and always samples by in/out, so the size "
    "form is equal whenever in · factor is a whole number.",
    formula="align_corners=False: src = (d + 0.5)·in/out - 0.5 (half_pixel_centers); "
    "True: src = d·(in-1)/(out-1) (align_corners)",
    source="NNAPI RESIZE_BILINEAR flags (feature level 4); torch upsample_bilinear2d",
    effect="the legacy corner rule instead is off by 1.0 to 1.7 on N(0,1) data",
)
POOL_OVER_IMAGE = Rule(
    id="shape.global_pool",
    kind="shape",
    title="Adaptive pooling to a fixed window",
    why="NNAPI has no adaptive pooling; with static sizes the windows are known. Output size 1 is one window over "
    "the whole image.",
    formula="out divides in: filter = stride = in / out",
    source="NNAPI AVERAGE_POOL_2D; torch adaptive_avg_pool2d bins",
    effect="none",
)
PAD_SEPARATED = Rule(
    id="shape.pad_separated",
    kind="decomposition",
    title="Padding as an operation of its own",
    why="NNAPI's average pool divides by the number of real elements in a window; PyTorch with "
    "count_include_pad=True counts the zeros. Padding first makes the zeros real. A convolution takes no padding "
    "as wide as its filter; what it lacks is put in front.",
    formula="AVERAGE_POOL_2D(PAD(x)); CONV_2D(PAD(x), pad=0)",
    source="AOSP 13 Pooling.cpp divides by the in-bounds count, Conv2D.cpp refuses pad >= filter; torch avg_pool2d",
    effect="border cells off by up to 9/4 for a 3x3 window; the device would refuse the convolution",
)
CEIL_TAIL = Rule(
    id="shape.ceil_mode",
    kind="shape",
    title="Ceil mode as extra padding at the tail",
    why="NNAPI floors the output size. The extra cells PyTorch's ceil_mode keeps appear when the tail is padded; "
    "padding is not counted and never wins a maximum.",
    formula="extra = (out - 1)·stride + window - (in + 2·pad)",
    source="torch pooling_output_shape; AOSP computeOutSize",
    effect="the output would be one row or column short",
)
RANK_RESTORED = Rule(
    id="shape.linear_rank",
    kind="shape",
    title="Leading dimensions of a linear layer restored",
    why="FULLY_CONNECTED flattens its input to [n, in] and always gives rank 2; PyTorch keeps all leading dimensions.",
    formula="[a,b,in] → FULLY_CONNECTED → [a·b,out] → RESHAPE [a,b,out]",
    source="NNAPI FULLY_CONNECTED output 0",
    effect="rank mismatch in what follows",
)
RESHAPED = Rule(
    id="shape.reshaped",
    kind="shape",
    title="RESHAPE",
    why="The same elements in the same order under another shape. view, reshape, flatten, squeeze and unsqueeze are "
    "one NNAPI operation.",
    formula="out = RESHAPE(in, shape)",
    source="NNAPI RESHAPE",
)
DECOMPOSED = Rule(
    id="shape.decomposed",
    kind="decomposition",
    title="Written with several operations",
    why="NNAPI has no single operation for this one; the formula gives the same values.",
    formula="see facts",
    source="NNAPI operation list",
)
COPIED_OUT = Rule(
    id="identity.copied_out",
    kind="identity",
    title="Copied so that it can be an output",
    why="An NNAPI operand cannot be a model input and a model output at once, nor can a constant be an output.",
    formula="out = RESHAPE(in, shape of in)",
    source="ANeuralNetworksModel_identifyInputsAndOutputs answers BAD_DATA otherwise",
    effect="the device would refuse the model",
)
SHUFFLE_MATCHED = Rule(
    id="shape.channel_shuffle",
    kind="shape",
    title="Channel shuffle recognised",
    why="view, transpose, view over five dimensions deals the channels out among groups. NNAPI takes no rank of 5, "
    "but has the whole as one operation.",
    formula="out[k·g + j] = in[j·(C/g) + k], g groups: CHANNEL_SHUFFLE(num_groups=g)",
    source="NNAPI CHANNEL_SHUFFLE (feature level 3)",
    effect="none: exact",
)
RANK_FOLDED = Rule(
    id="shape.rank_folded",
    kind="shape",
    title="More than four dimensions, held in at most four",
    why="Most NNAPI operations take no rank above 4. The dimensions of such a value exist only in the bookkeeping: "
    "its operand keeps whatever shape its elements already have, and neighbours that move together are one.",
    formula="view [B,H/w,w,W/w,w,C], permute (0,1,3,2,4,5) = TRANSPOSE over [B·H/w, w, W/w, w·C] with (0,2,1,3)",
    source="NNAPI TRANSPOSE, RESHAPE, MUL …: rank 1 to 4",
    effect="none: row-major order does not change when neighbours are merged",
)
BROADCAST_MADE = Rule(
    id="shape.broadcast_made",
    kind="shape",
    title="Broadcast written out",
    why="SELECT, BATCH_MATMUL and others do not broadcast, and expand means copies here: the smaller tensor is "
    "repeated, at compile time if it is constant.",
    formula="TILE(x, multiples); truth values: LOGICAL_OR(x, false of the full shape)",
    source="NNAPI SELECT: all inputs have one shape; TILE (level 3) takes no TENSOR_BOOL8",
    effect="none: exact",
)
BROADCAST_LEFT = Rule(
    id="shape.broadcast_left",
    kind="shape",
    title="Broadcast left to the operation behind it",
    why="expand before an elementwise operation repeats what NNAPI's ADD, SUB, MUL and DIV repeat by themselves; "
    "they read the value as it was.",
    formula="MUL(x, expand_as(s, x)) = MUL(x, s)",
    source="NNAPI ADD, SUB, MUL, DIV: broadcasting from the right",
    effect="none: exact, and no copies",
)
BORDER_COPIED = Rule(
    id="shape.border_copied",
    kind="shape",
    title="Border made of the tensor's own elements",
    why="PAD writes one number. A mirrored, repeated or wrapped border is a choice of elements along each dimension, "
    "which is a GATHER with constant positions.",
    formula="reflect: -i → i; replicate: clamp(i, 0, n-1); circular: i mod n",
    source="NNAPI GATHER (level 3); MIRROR_PAD does reflections (level 7)",
    effect="none: exact",
)
PIXELS_SHUFFLED = Rule(
    id="shape.pixel_shuffle",
    kind="shape",
    title="Channels dealt out for DEPTH_TO_SPACE",
    why="PyTorch numbers a pixel-shuffled channel c·r² + dy·r + dx, NNAPI (dy·r + dx)·C + c. A channel shuffle "
    "leads from one to the other.",
    formula="pixel_shuffle(r) = DEPTH_TO_SPACE(CHANNEL_SHUFFLE(x, groups=C), r); "
    "pixel_unshuffle(r) = CHANNEL_SHUFFLE(SPACE_TO_DEPTH(x, r), groups=r²)",
    source="AOSP 13 Reshape.cpp depthToSpace; torch pixel_shuffle",
    effect="wrong colours in every super-resolution network with more than one channel",
)
MAP_WIDENED = Rule(
    id="shape.map_widened",
    kind="shape",
    title="Missing image dimensions are 1",
    why="NNAPI's convolutions and pools work on [N,H,W,C] only. A sequence [N,C,L] is an image of height 1, an "
    "unbatched image a batch of 1.",
    formula="[N,C,L] → [N,1,L,C]; filter [O,I,k] → [O,1,k,I]",
    source="NNAPI CONV_2D, MAX_POOL_2D: rank 4",
    effect="none: exact",
)
KERNEL_STUFFED = Rule(
    id="shape.kernel_stuffed",
    kind="constant",
    title="Dilation written into the filter",
    why="NNAPI's transposed convolution has no dilation. Zeros between the weights are the same thing.",
    formula="W'[…, d·i, d·j] = W[…, i, j]; size (k - 1)·d + 1",
    source="NNAPI TRANSPOSE_CONV_2D inputs",
    effect="none; about d² times the multiplications",
)
BLOCK_DIAGONAL = Rule(
    id="shape.block_diagonal",
    kind="constant",
    title="Groups written as one dense filter",
    why="NNAPI's grouped convolution has no dilation and its transposed convolution no groups. A dense filter that is "
    "zero between groups computes the same.",
    formula="W'[o, i] = W[o, i - first(group of o)] inside the group of o, else 0",
    source="NNAPI GROUPED_CONV_2D, TRANSPOSE_CONV_2D inputs",
    effect="none; as many times the multiplications as there are groups",
)
SUM_FROM_AVERAGE = Rule(
    id="shape.divisor",
    kind="decomposition",
    title="Another divisor",
    why="AVERAGE_POOL_2D divides by the window's size. With the padding made real, a factor sets it right.",
    formula="AVERAGE_POOL_2D(PAD(x)) · (kh·kw / divisor)",
    source="torch avg_pool2d divisor_override",
)
BINS_APART = Rule(
    id="shape.adaptive_bins",
    kind="decomposition",
    title="Adaptive bins one by one",
    why="Where the sizes do not divide, PyTorch's bins overlap and differ in size. Rows and columns are separate, so "
    "each bin is one slice and one reduction per axis.",
    formula="bin i = [floor(i·n/o), ceil((i+1)·n/o)); rows first, then columns",
    source="torch adaptive_avg_pool2d",
    effect="none",
)
DILATED_MAX = Rule(
    id="shape.dilated_max",
    kind="decomposition",
    title="Dilated maximum from slices",
    why="NNAPI's pools have no dilation. A maximum over a window is the maximum over rows of the maximum over columns; "
    "each is a maximum of strided slices.",
    formula="y[i] = MAXIMUM over j of x[i·stride + j·dilation]",
    source="torch max_pool2d; NNAPI STRIDED_SLICE, MAXIMUM",
    effect="none",
)
RESIZE_MATRIX = Rule(
    id="shape.resize_matrix",
    kind="decomposition",
    title="Interpolation as two matrices",
    why="NNAPI samples by the ratio of sizes and knows nearest and bilinear only. Every interpolation is linear in the "
    "pixels and separable, so with static sizes it is a constant matrix along H and one along W.",
    formula="y = A_h · x · A_wᵀ by two FULLY_CONNECTED",
    source="torch upsample_bicubic2d, upsample_bilinear2d with scale factors",
    effect="about 1e-6; RESIZE_BILINEAR by sizes instead is off by up to 0.9",
)
RESIZE_PICKED = Rule(
    id="shape.resize_picked",
    kind="decomposition",
    title="Nearest pixels picked",
    why="NNAPI samples by the ratio of sizes, PyTorch by the factor it was given. The pixels it takes are known.",
    formula="y = GATHER(GATHER(x, rows), columns)",
    source="torch upsample_nearest2d: floor(d / scale)",
    effect="3 of 7 pixels differ for 11 · 0.7",
)
