"""Why recurrent layers change their weights, and when time is written out."""

from __future__ import annotations

from nnapi_lab.rewrites.rule import Rule

GATES_SEPARATED = Rule(
    id="recurrent.gates",
    kind="constant",
    title="Gate weights taken apart",
    why="PyTorch stacks the rows of the four gates in one matrix, in the order input, forget, cell, output. NNAPI "
    "takes a matrix per gate, in the order input, forget, cell, output of its own arguments.",
    formula="weight [4·units, n] = rows of i, f, g, o: input_to_input_w = rows 0…units, input_to_forget_w = the next …",
    source="NNAPI LSTM inputs 1 to 8; torch.nn.LSTM weight_ih_l[k]: (W_ii|W_if|W_ig|W_io)",
    effect="swapping cell and output gate is off by 0.28 on N(0,1) data",
)
BIASES_SUMMED = Rule(
    id="recurrent.bias",
    kind="constant",
    title="Two biases summed",
    why="PyTorch keeps one bias for the input and one for the recurrent product; NNAPI adds a single one. Without "
    "biases it is zero.",
    formula="b = b_ih + b_hh",
    source="NNAPI LSTM inputs 12 to 15; torch.nn.LSTM bias_ih_l[k], bias_hh_l[k]",
    effect="none beyond the order of a float sum",
)
INITIAL_STATE = Rule(
    id="recurrent.initial_state",
    kind="constant",
    title="Initial state stated",
    why="NNAPI's cells take their states as inputs; PyTorch holds those of all layers and directions in one tensor, "
    "zeros when none is given.",
    formula="state of layer l, direction d = h0[l · directions + d], shape [batch, units]",
    source="NNAPI LSTM inputs 18, 19; torch.nn.LSTM h_0, c_0",
)
SEQUENCE = Rule(
    id="recurrent.sequence",
    kind="operation",
    title="One operation per layer",
    why="NNAPI runs one layer along the sequence; stacked layers are operations in a row, and both directions of a "
    "layer are one operation. Its activation argument is no FuseCode: 4 is tanh.",
    formula="i, f, o = sigmoid(W x + U h + b), g = tanh(W x + U h + b), c' = f·c + i·g, h' = o·tanh(c')",
    source="NNAPI UNIDIRECTIONAL_SEQUENCE_LSTM, BIDIRECTIONAL_SEQUENCE_LSTM (level 3; last states from level 4)",
    effect="none: 6e-8 on N(0,1) data",
)
UNROLLED = Rule(
    id="recurrent.unrolled",
    kind="decomposition",
    title="Time written out",
    why="NNAPI has no such cell: GRU is unknown to it, and its plain cell takes no tanh among the activations it "
    "documents. The product with the input is made for all steps at once, the rest step by step.",
    formula="see facts",
    source="NNAPI operation list; NNAPI RNN input 5 is a FuseCode; torch.nn.GRU (reset applied after U h + b_hn)",
    effect="a reset before the product, as others define GRU, is off by 0.125 on N(0,1) data",
)
