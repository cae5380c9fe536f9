"""Networks of attention and their rivals: Transformer, ViT, Swin, BERT, GPT block, MLP-Mixer, ConvNeXt."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.members import image, member, tensors


def encoder(batch_first: bool, norm_first: bool = False, activation: str = "relu") -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=batch_first, norm_first=norm_first, activation=activation)
    return nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)


@member("Transformer encoder", tensors((2, 6, 16)))
def transformer_batch_first() -> nn.Module:
    return encoder(batch_first=True)


@member("Transformer encoder", tensors((6, 2, 16)))
def transformer_time_first() -> nn.Module:
    return encoder(batch_first=False, norm_first=True, activation="gelu")


@member("Transformer encoder", tensors((7, 2, 16)))
class CausalLanguageModel(nn.Module):
    """The tutorial's model: sinusoids added, a square mask of -inf built inside, scaled input."""

    pe: Tensor

    def __init__(self) -> None:
        super().__init__()
        position = torch.arange(10).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, 16, 2) * (-math.log(10000.0) / 16))
        pe = torch.zeros(10, 1, 16)
        pe[:, 0, 0::2], pe[:, 0, 1::2] = torch.sin(position * div_term), torch.cos(position * div_term)
        self.register_buffer("pe", pe)
        self.encoder, self.decoder = encoder(batch_first=False), nn.Linear(16, 11)

    def forward(self, src: Tensor) -> Tensor:
        src = src * math.sqrt(16)
        src = src + self.pe[: src.size(0)]
        mask = nn.Transformer.generate_square_subsequent_mask(len(src))
        return self.decoder(self.encoder(src, mask))


@member("Transformer encoder", tensors((2, 5, 16), (2, 6, 16)))
class CrossAttention(nn.Module):
    """nn.MultiheadAttention with its weights returned, queries from one input, keys and values from another."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.norm = nn.MultiheadAttention(16, 4, batch_first=True), nn.LayerNorm(16)

    def forward(self, query: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        out, weights = self.attention(query, memory, memory)
        return self.norm(query + out), weights


# --- ViT -------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """qkv in one linear, reshape and permute, matmul, softmax, transpose."""

    def __init__(self, dim: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.num_heads, self.scale, self.fused = heads, (dim // heads) ** -0.5, fused
        self.qkv, self.proj = nn.Linear(dim, dim * 3, bias=True), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0) if self.fused else (qkv[0], qkv[1], qkv[2])
        if self.fused:
            x = F.scaled_dot_product_attention(q, k, v)
        else:
            attn = (q * self.scale) @ k.transpose(-2, -1)
            x = attn.softmax(dim=-1) @ v
        return self.proj(x.transpose(1, 2).reshape(b, n, c))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim, eps=1e-6), Attention(dim, heads, fused)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, dim * 2), nn.GELU(), nn.Linear(dim * 2, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 16, kernel_size=8, stride=8)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 16))
        self.pos_embed = nn.Parameter(torch.randn(1, 17, 16) * 0.5)
        self.blocks = nn.Sequential(Block(16, 4, fused), Block(16, 4, fused))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        b = x.shape[0]
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(b, -1, -1), x), dim=1)
        x = x + self.pos_embed
        x = self.norm(self.blocks(x))
        return self.head(x[:, 0])


@member("ViT", image(32))
def vit() -> nn.Module:
    return ViT(fused=False)


@member("ViT", image(32, batch=2))
def vit_batch_2() -> nn.Module:
    return ViT(fused=False)


@member("ViT", image(32, batch=2))
def vit_fused() -> nn.Module:
    return ViT(fused=True)


@member("ViT", image(32))
class TorchVisionViT(nn.Module):
    """torchvision's: reshape and permute of the patches, nn.MultiheadAttention without weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_proj = nn.Conv2d(3, 16, 8, 8)
        self.class_token = nn.Parameter(torch.randn(1, 1, 16))
        self.pos_embedding = nn.Parameter(torch.empty(1, 17, 16).normal_(std=0.02))
        self.ln_1, self.ln_2 = nn.LayerNorm(16, eps=1e-6), nn.LayerNorm(16, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.mlp, self.head = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        x = self.conv_proj(x)
        x = x.reshape(n, 16, 16)
        x = x.permute(0, 2, 1)
        x = torch.cat([self.class_token.expand(n, -1, -1), x], dim=1)
        x = x + self.pos_embedding
        y = self.ln_1(x)
        y, _ = self.self_attention(y, y, y, need_weights=False)
        y = y + x
        y = y + self.mlp(self.ln_2(y))
        return self.head(y[:, 0])


# --- Swin --------------------------------------------------------------------------------------------------------


def window_partition(x: Tensor, size: int) -> Tensor:
    b, h, w, c = x.shape
    x = x.view(b, h // size, size, w // size, size, c)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, size, size, c)


def window_reverse(windows: Tensor, size: int, h: int, w: int) -> Tensor:
    b = int(windows.shape[0] / (h * w / size / size))
    x = windows.view(b, h // size, w // size, size, size, -1)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(b, h, w, -1)


class WindowAttention(nn.Module):
    relative_position_index: Tensor

    def __init__(self, dim: int, size: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.scale = heads, (dim // heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(torch.randn((2 * size - 1) ** 2, heads) * 0.5)
        coords = torch.stack(torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")).flatten(1)
        relative = (coords[:, :, None] - coords[:, None, :]).permute(1, 2, 0) + size - 1
        self.register_buffer("relative_position_index", relative[:, :, 0] * (2 * size - 1) + relative[:, :, 1])
        self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        windows, n, c = x.shape
        qkv = self.qkv(x).reshape(windows, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        attn = (q * self.scale) @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)].view(n, n, -1)
        attn = attn + bias.permute(2, 0, 1).contiguous().unsqueeze(0)
        if mask is not None:
            count = mask.shape[0]
            attn = attn.view(windows // count, count, self.num_heads, n, n) + mask.unsqueeze(1).unsqueeze(0)
            attn = attn.view(-1, self.num_heads, n, n)
        x = (attn.softmax(-1) @ v).transpose(1, 2).reshape(windows, n, c)
        return self.proj(x)


class SwinBlock(nn.Module):
    attn_mask: Tensor | None

    def __init__(self, dim: int, resolution: int, size: int, shift: int) -> None:
        super().__init__()
        self.resolution, self.size, self.shift = resolution, size, shift
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, size, 2)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        mask = None
        if shift > 0:
            regions = torch.zeros((1, resolution, resolution, 1))
            cuts = (slice(0, -size), slice(-size, -shift), slice(-shift, None))
            for number, (rows, columns) in enumerate((a, b) for a in cuts for b in cuts):
                regions[:, rows, columns, :] = number
            flat = window_partition(regions, size).view(-1, size * size)
            mask = flat.unsqueeze(1) - flat.unsqueeze(2)
            mask = mask.masked_fill(mask != 0, -100.0).masked_fill(mask == 0, 0.0)
        self.register_buffer("attn_mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        h = w = self.resolution
        b, _, c = x.shape
        shortcut = x
        x = self.norm1(x).view(b, h, w, c)
        if self.shift > 0:
            x = torch.roll(x, shifts=(-self.shift, -self.shift), dims=(1, 2))
        windows = window_partition(x, self.size).view(-1, self.size * self.size, c)
        windows = self.attn(windows, self.attn_mask).view(-1, self.size, self.size, c)
        x = window_reverse(windows, self.size, h, w)
        if self.shift > 0:
            x = torch.roll(x, shifts=(self.shift, self.shift), dims=(1, 2))
        x = shortcut + x.view(b, h * w, c)
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    def __init__(self, dim: int, resolution: int) -> None:
        super().__init__()
        self.resolution, self.norm = resolution, nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, _, c = x.shape
        x = x.view(b, self.resolution, self.resolution, c)
        x = torch.cat([x[:, 0::2, 0::2, :], x[:, 1::2, 0::2, :], x[:, 0::2, 1::2, :], x[:, 1::2, 1::2, :]], -1)
        return self.reduction(self.norm(x.view(b, -1, 4 * c)))


@member("Swin", image(32))
class Swin(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch_embed, self.patch_norm = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8)
        self.blocks = nn.Sequential(SwinBlock(8, 8, 4, 0), SwinBlock(8, 8, 4, 2), PatchMerging(8, 8))
        self.norm, self.avgpool, self.head = nn.LayerNorm(16), nn.AdaptiveAvgPool1d(1), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_norm(self.patch_embed(x).flatten(2).transpose(1, 2))
        x = self.norm(self.blocks(x))
        x = self.avgpool(x.transpose(1, 2))
        return self.head(torch.flatten(x, 1))


# --- MLP-Mixer, ConvNeXt -----------------------------------------------------------------------------------------


class MixerLayer(nn.Module):
    def __init__(self, tokens: int, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.tokens = nn.Sequential(nn.Linear(tokens, 8), nn.GELU(), nn.Linear(8, tokens))
        self.channels = nn.Sequential(nn.Linear(dim, 32), nn.GELU(), nn.Linear(32, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


@member("MLP-Mixer", image(32))
class MLPMixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 8, 8)
        self.blocks = nn.Sequential(MixerLayer(16, 16), MixerLayer(16, 16))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(dim=1))


class ConvNeXtBlock(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv, self.norm = nn.Conv2d(dim, dim, 7, padding=3, groups=dim), nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1, self.act, self.pwconv2 = nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.rand(dim))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.dwconv(x)
        x = x.permute(0, 2, 3, 1)
        x = self.pwconv2(self.act(self.pwconv1(self.norm(x))))
        x = self.gamma * x
        x = x.permute(0, 3, 1, 2)
        return shortcut + x


class ChannelsFirstNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class NormByHand(nn.Module):
    """The original's channels-first layer norm, from mean and power."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(dim) + 0.5), nn.Parameter(torch.randn(dim))

    def forward(self, x: Tensor) -> Tensor:
        u = x.mean(1, keepdim=True)
        s = (x - u).pow(2).mean(1, keepdim=True)
        x = (x - u) / torch.sqrt(s + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


@member("ConvNeXt", image(32), inside=0)
class ConvNeXt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 4, 4), ChannelsFirstNorm(8))
        self.stages = nn.Sequential(ConvNeXtBlock(8), NormByHand(8), nn.Conv2d(8, 16, 2, 2), ConvNeXtBlock(16))
        self.norm, self.head = nn.LayerNorm(16, eps=1e-6), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.stem(x))
        return self.head(self.norm(x.mean([-2, -1])))


# --- BERT, GPT -----------------------------------------------------------------------------------------------


class BertLayer(nn.Module):
    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, hidden // heads
        self.query, self.key, self.value = (nn.Linear(hidden, hidden) for _ in range(3))
        self.dense, self.norm1 = nn.Linear(hidden, hidden), nn.LayerNorm(hidden, eps=1e-12)
        self.intermediate, self.output = nn.Linear(hidden, 2 * hidden), nn.Linear(2 * hidden, hidden)
        self.norm2, self.dropout = nn.LayerNorm(hidden, eps=1e-12), nn.Dropout(0.1)

    def transpose_for_scores(self, x: Tensor) -> Tensor:
        x = x.view(*x.size()[:-1], self.heads, self.size)
        return x.permute(0, 2, 1, 3)

    def forward(self, hidden_states: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (self.transpose_for_scores(part(hidden_states)) for part in (self.query, self.key, self.value))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(self.size)
        probs = self.dropout(nn.functional.softmax(scores + mask, dim=-1))
        context = torch.matmul(probs, v).permute(0, 2, 1, 3).contiguous()
        context = context.view(*context.size()[:-2], self.heads * self.size)
        hidden_states = self.norm1(self.dense(context) + hidden_states)
        return self.norm2(self.output(F.gelu(self.intermediate(hidden_states))) + hidden_states)


def text_inputs() -> tuple[Tensor, ...]:
    """Token ids, attention mask (some padding), token types: int64 [2, 7]."""
    mask = torch.ones(2, 7, dtype=torch.int64)
    mask[1, 5:] = 0
    return torch.randint(0, 30, (2, 7)), mask, torch.randint(0, 2, (2, 7))


@member("BERT", text_inputs)
class Bert(nn.Module):
    position_ids: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(30, 16, padding_idx=0)
        self.position_embeddings, self.token_type_embeddings = nn.Embedding(12, 16), nn.Embedding(2, 16)
        self.norm = nn.LayerNorm(16, eps=1e-12)
        self.register_buffer("position_ids", torch.arange(12).expand((1, -1)))
        self.layers = nn.ModuleList(BertLayer(16, 4) for _ in range(2))
        self.pooler, self.classifier = nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> tuple[Tensor, Tensor]:
        positions = self.position_ids[:, : input_ids.size(1)]
        x = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        x = self.norm(x + self.position_embeddings(positions))
        extended = attention_mask[:, None, None, :].to(dtype=x.dtype)
        extended = (1.0 - extended) * -10000.0
        for layer in self.layers:
            x = layer(x, extended)
        pooled = torch.tanh(self.pooler(x[:, 0]))
        return x, self.classifier(pooled)


@member("BERT", lambda: text_inputs()[:2])
class DistilBert(nn.Module):
    """A boolean mask and masked_fill, positions from arange, GELU by tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions, self.norm = nn.Embedding(30, 16), nn.Embedding(12, 16), nn.LayerNorm(16)
        self.q, self.k, self.v, self.o = (nn.Linear(16, 16) for _ in range(4))
        self.lin1, self.lin2 = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        bs, length = ids.shape
        positions = torch.arange(length, dtype=torch.long).unsqueeze(0).expand_as(ids)
        x = self.norm(self.words(ids) + self.positions(positions))

        def shape(part: Tensor) -> Tensor:
            return part.view(bs, -1, 4, 4).transpose(1, 2)

        q, k, v = shape(self.q(x)) / math.sqrt(4), shape(self.k(x)), shape(self.v(x))
        scores = torch.matmul(q, k.transpose(2, 3))
        mask = (attention_mask == 0).view((bs, 1, 1, length)).expand_as(scores)
        scores = scores.masked_fill(mask, -1e9)
        context = torch.matmul(torch.softmax(scores, dim=-1), v)
        context = context.transpose(1, 2).contiguous().view(bs, -1, 16)
        x = x + self.o(context)
        return x + self.lin2(F.gelu(self.lin1(x), approximate="tanh"))


@member("GPT", lambda: (torch.randint(0, 30, (1, 8)),))
class GPT(nn.Module):
    """nanoGPT's block: split of one linear, a lower-triangular buffer, masked_fill with -inf, tied embeddings."""

    bias: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(30, 16), nn.Embedding(8, 16)
        self.ln_1, self.ln_2, self.ln_f = nn.LayerNorm(16), nn.LayerNorm(16), nn.LayerNorm(16)
        self.c_attn, self.c_proj = nn.Linear(16, 48), nn.Linear(16, 16)
        self.fc, self.proj = nn.Linear(16, 64), nn.Linear(64, 16)
        self.register_buffer("bias", torch.tril(torch.ones(8, 8)).view(1, 1, 8, 8))
        self.lm_head = nn.Linear(16, 30, bias=False)
        self.lm_head.weight = self.wte.weight

    def attention(self, x: Tensor) -> Tensor:
        b, t, c = x.size()
        q, k, v = self.c_attn(x).split(16, dim=2)
        k, q, v = (part.view(b, t, 4, c // 4).transpose(1, 2) for part in (k, q, v))
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :t, :t] == 0, float("-inf"))
        att = F.softmax(att, dim=-1)
        return self.c_proj((att @ v).transpose(1, 2).contiguous().view(b, t, c))

    def forward(self, idx: Tensor) -> Tensor:
        pos = torch.arange(0, idx.size(1), dtype=torch.long).unsqueeze(0)
        x = self.wte(idx) + self.wpe(pos)
        x = x + self.attention(self.ln_1(x))
        x = x + self.proj(F.gelu(self.fc(self.ln_2(x))))
        return self.lm_head(self.ln_f(x)[:, [-1], :])


class RMSNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(dim) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))


@member("GPT", tensors((1, 6, 16)))
class LlamaBlock(nn.Module):
    """Rotary embeddings by halves, grouped keys expanded, SwiGLU, RMS norm."""

    cos: Tensor
    sin: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(16, width, bias=False) for width in (16, 8, 8, 16))
        self.norm1, self.norm2 = RMSNorm(16), RMSNorm(16)
        self.gate, self.up, self.down = nn.Linear(16, 32), nn.Linear(16, 32), nn.Linear(32, 16)
        angles = torch.outer(torch.arange(6).float(), torch.tensor([1.0, 0.1]))
        self.register_buffer("cos", torch.cat([angles, angles], -1).cos())
        self.register_buffer("sin", torch.cat([angles, angles], -1).sin())

    def rotated(self, x: Tensor) -> Tensor:
        first, second = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
        return x * self.cos + torch.cat((-second, first), dim=-1) * self.sin

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        h = self.norm1(x)
        q = self.rotated(self.q(h).view(b, t, 4, 4).transpose(1, 2))
        k = self.rotated(self.k(h).view(b, t, 2, 4).transpose(1, 2))
        v = self.v(h).view(b, t, 2, 4).transpose(1, 2)
        k = k[:, :, None].expand(b, 2, 2, t, 4).reshape(b, 4, t, 4)
        v = v.repeat_interleave(2, dim=1)
        mask = torch.full((t, t), float("-inf")).triu(1)
        scores = torch.softmax(q @ k.mT / 2.0 + mask, -1)
        x = x + self.o((scores @ v).transpose(1, 2).reshape(b, t, c))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


@member("Point cloud", tensors((1, 3, 24)))
class PointNet(nn.Module):
    """Conv1d of width 1, max over points, a learned 3x3 transform by bmm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(3, 8, 1), nn.Conv1d(3, 12, 1)
        self.bn1, self.bn2 = nn.BatchNorm1d(8), nn.BatchNorm1d(12)
        self.fc, self.out = nn.Linear(8, 9), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        t = F.relu(self.bn1(self.conv1(x)))
        t = torch.max(t, 2, keepdim=True)[0].view(-1, 8)
        iden = torch.eye(3).view(1, 9).repeat(x.size(0), 1)
        t = (self.fc(t) + iden).view(-1, 3, 3)
        x = torch.bmm(x.transpose(2, 1), t).transpose(2, 1)
        x = F.relu(self.bn2(self.conv2(x)))
        return self.out(torch.max(x, 2)[0])
