"""Networks over time: 1-D convolutions for audio, LSTM, GRU and RNN in the ways people set them up."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.members import member, tensors

# --- audio ---------------------------------------------------------------------------------------------------


@member("Audio denoiser", tensors((1, 1, 256)))
class Denoiser(nn.Module):
    """A small Demucs without its LSTM: strided Conv1d with GLU, skips, ConvTranspose1d."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for inp, hidden in ((1, 8), (8, 12)):
            self.encoder.append(nn.Sequential(nn.Conv1d(inp, hidden, 8, 4, 2), nn.ReLU(),
                                              nn.Conv1d(hidden, hidden * 2, 1), nn.GLU(1)))  # fmt: skip
            last = nn.ReLU() if inp > 1 else nn.Identity()
            self.decoder.insert(0, nn.Sequential(nn.Conv1d(hidden, hidden * 2, 1), nn.GLU(1),
                                                 nn.ConvTranspose1d(hidden, inp, 8, 4, 2), last))  # fmt: skip

    def forward(self, mix: Tensor) -> Tensor:
        mono = mix.mean(dim=1, keepdim=True)
        std = mono.std(dim=-1, keepdim=True)
        x = mix / (1e-3 + std)
        skips = []
        for encode in self.encoder:
            x = encode(x)
            skips.append(x)
        for decode in self.decoder:
            skip = skips.pop(-1)
            x = x + skip[..., : x.shape[-1]]
            x = decode(x)
        return std * x


@member("Audio denoiser", tensors((2, 8, 40)))
class TCN(nn.Module):
    """Dilated causal convolutions that are chomped, residuals, a linear head on the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(8, 8, 3, padding=2 * d, dilation=d) for d in (1, 2, 4))
        self.norms = nn.ModuleList(nn.BatchNorm1d(8) for _ in range(3))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            chomp = conv.padding[0]
            x = F.relu(norm(conv(x)[:, :, :-chomp].contiguous()) + x)
        return self.head(x[:, :, -1])


@member("Audio classifier", tensors((2, 1, 400)))
class M5(nn.Module):
    """The tutorial's network on raw audio: BatchNorm1d, max_pool1d, avg_pool1d over what is left, permute."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.pool1 = nn.Conv1d(1, 8, kernel_size=40, stride=4), nn.BatchNorm1d(8), nn.MaxPool1d(4)
        self.conv2, self.bn2, self.pool2 = nn.Conv1d(8, 12, kernel_size=3), nn.BatchNorm1d(12), nn.MaxPool1d(2)
        self.fc1 = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(F.relu(self.bn1(self.conv1(x))))
        x = self.pool2(F.relu(self.bn2(self.conv2(x))))
        x = F.avg_pool1d(x, x.shape[-1])
        x = x.permute(0, 2, 1)
        x = self.fc1(x)
        return F.log_softmax(x, dim=2)


@member("Audio classifier", tensors((1, 1, 20, 16)))
class KeywordCRNN(nn.Module):
    """A spectrogram through 2-D convolutions, its channels and bands folded into features, then a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 8, 3, (2, 2), 1), nn.BatchNorm2d(8), nn.ReLU())
        self.gru = nn.GRU(8 * 8, 12, batch_first=True)
        self.out = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        b, c, t, f = x.shape
        x = x.permute(0, 2, 1, 3).reshape(b, t, c * f)
        x, _ = self.gru(x)
        return self.out(x[:, -1, :])


# --- recurrent -----------------------------------------------------------------------------------------------


class Tagger(nn.Module):
    """A recurrent layer between linears; the whole sequence comes out."""

    def __init__(self, body: nn.RNNBase) -> None:
        super().__init__()
        self.body = body
        self.out = nn.Linear(body.hidden_size * (2 if body.bidirectional else 1), 5)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.body(x)
        return self.out(y)


class LastState(nn.Module):
    """Returns the states as well; reads the last layer's hidden state for its decision."""

    def __init__(self, body: nn.RNNBase) -> None:
        super().__init__()
        self.body = body
        self.fc = nn.Linear(body.hidden_size, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        _, state = self.body(x)
        hidden = state[0] if isinstance(state, tuple) else state
        return self.fc(hidden[-1]), hidden


SEQUENCE = tensors((2, 6, 7))


@member("LSTM", SEQUENCE)
def lstm_time_first() -> nn.Module:
    return Tagger(nn.LSTM(7, 8))


@member("LSTM", SEQUENCE)
def lstm_batch_first() -> nn.Module:
    return Tagger(nn.LSTM(7, 8, batch_first=True))


@member("LSTM", SEQUENCE)
def lstm_bidirectional() -> nn.Module:
    return Tagger(nn.LSTM(7, 8, batch_first=True, bidirectional=True))


@member("LSTM", SEQUENCE)
def lstm_stacked() -> nn.Module:
    return LastState(nn.LSTM(7, 8, num_layers=2, batch_first=True, dropout=0.1))


@member("LSTM", SEQUENCE)
def lstm_stacked_bidirectional() -> nn.Module:
    return Tagger(nn.LSTM(7, 8, num_layers=2, bidirectional=True))


@member("LSTM", lambda: (torch.randint(0, 20, (2, 9)),))
class SentimentLSTM(nn.Module):
    """Embedding, bidirectional LSTM with zero states made from the batch size, mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8, padding_idx=0)
        self.lstm = nn.LSTM(8, 6, 2, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(12, 2)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        h0 = torch.zeros(4, x.size(0), 6)
        c0 = torch.zeros(4, x.size(0), 6)
        out, (hidden, _) = self.lstm(x, (h0, c0))
        return self.fc(torch.cat((hidden[-2], hidden[-1]), dim=1) + out.mean(dim=1))


@member("LSTM", tensors((1, 1, 7), (1, 1, 8), (1, 1, 8)))
class StreamingLSTM(nn.Module):
    """One step at a time: states come in and go out."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.fc = nn.LSTM(7, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, (h, c) = self.lstm(x, (h, c))
        return self.fc(y), h, c


@member("LSTM", tensors((3, 2, 7)))
class CellByHand(nn.Module):
    """nn.LSTMCell in a Python loop."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.fc = nn.LSTMCell(7, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h, c = x.new_zeros(x.size(1), 6), x.new_zeros(x.size(1), 6)
        outputs = []
        for step in x:
            h, c = self.cell(step, (h, c))
            outputs.append(h)
        return self.fc(torch.stack(outputs))


@member("GRU", SEQUENCE)
def gru() -> nn.Module:
    return Tagger(nn.GRU(7, 8, batch_first=True))


@member("GRU", SEQUENCE)
def gru_bidirectional_stacked() -> nn.Module:
    return Tagger(nn.GRU(7, 8, num_layers=2, bidirectional=True))


@member("RNN", SEQUENCE)
def rnn_tanh() -> nn.Module:
    return LastState(nn.RNN(7, 8, batch_first=True))


@member("RNN", SEQUENCE)
def rnn_relu() -> nn.Module:
    return Tagger(nn.RNN(7, 8, nonlinearity="relu", bidirectional=True))


@member("RNN", tensors((2, 7), (2, 8)))
class NameClassifier(nn.Module):
    """The tutorial's RNN: two linears on input and state joined; the next state comes out as well."""

    def __init__(self) -> None:
        super().__init__()
        self.i2h, self.i2o, self.softmax = nn.Linear(15, 8), nn.Linear(15, 4), nn.LogSoftmax(dim=1)

    def forward(self, category: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        combined = torch.cat((category, hidden), 1)
        return self.softmax(self.i2o(combined)), self.i2h(combined)


# --- perceptrons and scripted control flow ---------------------------------------------------------------------


@member("MLP", tensors((4, 5, 12)), inside=0)
class Perceptron(nn.Module):
    """3-D linears, one without a bias, every common activation."""

    def __init__(self) -> None:
        super().__init__()
        self.l1, self.l2, self.l3 = nn.Linear(12, 16, bias=False), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.l1(x))
        x = F.softplus(self.l2(x)) + 1.0
        return torch.tanh(self.l3(x))


@member("MLP", lambda: (torch.randn(4, 6), torch.randint(0, 9, (4, 3))))
class Recommender(nn.Module):
    """Dense features beside embeddings, a deep and a wide part (DeepFM's pairwise interactions)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.wide = nn.Embedding(27, 5), nn.Linear(6, 1)
        self.deep = nn.Sequential(nn.Linear(21, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))
        self.register_buffer("offsets", torch.tensor([0, 9, 18]))

    def forward(self, dense: Tensor, ids: Tensor) -> Tensor:
        vectors = self.embedding(ids + self.offsets)
        square = vectors.sum(dim=1) ** 2 - (vectors**2).sum(dim=1)
        deep = self.deep(torch.cat([dense, vectors.view(dense.size(0), -1)], dim=1))
        return torch.sigmoid(self.wide(dense) + deep + 0.5 * square.sum(1, keepdim=True)).squeeze(1)


class Branching(nn.Module):
    """Scripted: attributes, shapes and Optional arguments decide its branches; loops over modules and ranges."""

    __constants__ = ("deep", "times")

    def __init__(self, deep: bool = True) -> None:
        super().__init__()
        self.deep, self.times = deep, 3
        self.conv, self.bn = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.layers = nn.ModuleList([nn.Conv2d(6, 6, 3, padding=1) for _ in range(2)])
        self.fc = nn.Linear(6, 4)

    def scaled(self, x: Tensor, by: float | None = None) -> Tensor:
        if by is None:
            return x
        return x * by

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = F.relu(self.bn(self.conv(x)))
        if self.deep and x.dim() == 4:
            for layer in self.layers:
                x = x + F.relu(layer(x), inplace=True)
        else:
            x = -x
        if x.size(2) > 16:
            x = F.avg_pool2d(x, 2)
        for i in range(self.times):
            x = self.scaled(x, 0.5 if i == 1 else None)
        if not torch.jit.is_scripting():
            x = x + 0.0
        outputs: list[Tensor] = []
        outputs.append(x)
        return {"features": outputs[0], "logits": self.fc(x.mean([2, 3]))}


@member("Scripted branches", lambda: (torch.randn(1, 3, 32, 32),), inside=0, script=True)
def scripted_deep() -> nn.Module:
    return Branching()


@member("Scripted branches", lambda: (torch.randn(1, 3, 16, 16),), inside=0, script=True)
def scripted_shallow() -> nn.Module:
    return Branching(deep=False)
