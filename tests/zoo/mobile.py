"""Networks made for phones: MobileNetV1, V2, V3, EfficientNet, MNASNet, ShuffleNetV2, SqueezeNet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.members import image, member


def divisible(width: float, by: int = 8) -> int:
    rounded = max(by, int(width + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * width else rounded


# --- MobileNetV1: depthwise separable blocks, F.relu6, view ----------------------------------------------------


class Separable(nn.Module):
    def __init__(self, inp: int, oup: int, stride: int) -> None:
        super().__init__()
        self.dw = nn.Conv2d(inp, inp, 3, stride, 1, groups=inp, bias=False)
        self.bn1 = nn.BatchNorm2d(inp)
        self.pw = nn.Conv2d(inp, oup, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(oup)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.bn1(self.dw(x)))
        return F.relu6(self.bn2(self.pw(x)), inplace=True)


@member("MobileNetV1", image(64), inside=0, quantizable=True)
class MobileNetV1(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(True))
        rows = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 96, 2)]
        self.blocks = nn.Sequential(*(Separable(*row) for row in rows))
        self.pool = nn.AvgPool2d(4)
        self.fc = nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.blocks(self.stem(x)))
        x = x.view(-1, 96)
        return self.fc(x)


# --- MobileNetV2: inverted residuals ---------------------------------------------------------------------------


class ConvBNReLU(nn.Sequential):
    def __init__(self, inp: int, oup: int, kernel: int = 3, stride: int = 1, groups: int = 1,
                 act: type[nn.Module] | None = nn.ReLU6, dilation: int = 1) -> None:  # fmt: skip
        padding = (kernel - 1) // 2 * dilation
        layers = [nn.Conv2d(inp, oup, kernel, stride, padding, dilation, groups, bias=False), nn.BatchNorm2d(oup)]
        super().__init__(*layers, *([act(inplace=True)] if act else []))


class InvertedResidual(nn.Module):
    def __init__(self, inp: int, oup: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inp * expand
        self.use_res_connect = stride == 1 and inp == oup
        layers: list[nn.Module] = []
        if expand != 1:
            layers.append(ConvBNReLU(inp, hidden, kernel=1))
        layers.extend([ConvBNReLU(hidden, hidden, stride=stride, groups=hidden),
                       nn.Conv2d(hidden, oup, 1, 1, 0, bias=False), nn.BatchNorm2d(oup)])  # fmt: skip
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        if self.use_res_connect:
            return x + self.conv(x)
        return self.conv(x)


@member("MobileNetV2", image(64, batch=2), inside=0, quantizable=True)
class MobileNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        features: list[nn.Module] = [ConvBNReLU(3, 16, stride=2)]
        channels = 16
        for expand, width, count, stride in [(1, 8, 1, 1), (6, 16, 2, 2), (6, 24, 3, 2), (6, 32, 2, 2)]:
            for index in range(count):
                features.append(InvertedResidual(channels, width, stride if index == 0 else 1, expand))
                channels = width
        features.append(ConvBNReLU(channels, 96, kernel=1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(96, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = nn.functional.adaptive_avg_pool2d(x, (1, 1))
        x = torch.flatten(x, 1)
        return self.classifier(x)


@member("MobileNetV2", image(64, batch=2), inside=0, script=True)
def mobilenet_v2_scripted() -> nn.Module:
    return MobileNetV2()


# --- MobileNetV3: squeeze-excitation, hard swish by module and by hand --------------------------------------------


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int, squeeze: int, gate: type[nn.Module] = nn.Hardsigmoid,
                 act: type[nn.Module] = nn.ReLU) -> None:  # fmt: skip
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeeze, 1)
        self.fc2 = nn.Conv2d(squeeze, channels, 1)
        self.activation = act()
        self.scale_activation = gate()

    def forward(self, x: Tensor) -> Tensor:
        scale = self.activation(self.fc1(self.avgpool(x)))
        return self.scale_activation(self.fc2(scale)) * x


class V3Block(nn.Module):
    def __init__(self, inp: int, kernel: int, expanded: int, oup: int, use_se: bool, hs: bool, stride: int) -> None:
        super().__init__()
        act = nn.Hardswish if hs else nn.ReLU
        self.use_res_connect = stride == 1 and inp == oup
        layers: list[nn.Module] = []
        if expanded != inp:
            layers.append(ConvBNReLU(inp, expanded, 1, act=act))
        layers.append(ConvBNReLU(expanded, expanded, kernel, stride, expanded, act))
        if use_se:
            layers.append(SqueezeExcitation(expanded, divisible(expanded // 4)))
        layers.append(ConvBNReLU(expanded, oup, 1, act=None))
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        result = self.block(x)
        if self.use_res_connect:
            result += x
        return result


@member("MobileNetV3", image(64), inside=0, quantizable=True)
class MobileNetV3(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvBNReLU(3, 16, 3, 2, act=nn.Hardswish),
            V3Block(16, 3, 16, 16, True, False, 2), V3Block(16, 3, 40, 24, False, False, 2),
            V3Block(24, 3, 48, 24, False, False, 1), V3Block(24, 5, 48, 32, True, True, 2),
            V3Block(32, 5, 96, 32, True, True, 1), ConvBNReLU(32, 96, 1, act=nn.Hardswish),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Linear(96, 64), nn.Hardswish(inplace=True), nn.Dropout(0.2, inplace=True),
                                        nn.Linear(64, 10))  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


class HandSwish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * F.relu6(x + 3.0, inplace=True) / 6.0


class HandSqueeze(nn.Module):
    """The older way: linear layers, and views of what the pooling gives."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(nn.Linear(channels, channels // 4, bias=False), nn.ReLU(inplace=True),
                                nn.Linear(channels // 4, channels, bias=False))  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        y = self.avg_pool(x).view(b, c)
        y = F.relu6(self.fc(y) + 3.0).mul(1 / 6).view(b, c, 1, 1)
        return x * y.expand_as(x)


@member("MobileNetV3", image(32, batch=2), inside=0, quantizable=True)
class MobileNetV3ByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.act = HandSwish()
        self.dw = nn.Conv2d(16, 16, 5, 2, 2, groups=16, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.se = HandSqueeze(16)
        self.pw = nn.Conv2d(16, 16, 1)
        self.last = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv1(x)))
        x = self.se(self.act(self.bn2(self.dw(x))))
        x = self.pw(x)
        return self.last(x.mean(3).mean(2))


# --- EfficientNet: SiLU, MBConv, stochastic depth that eval mode removes --------------------------------------------


class StochasticDepth(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * torch.empty(x.shape[0], 1, 1, 1).bernoulli_(0.8)


class MBConv(nn.Module):
    def __init__(self, inp: int, oup: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inp * expand
        self.use_res_connect = stride == 1 and inp == oup
        layers: list[nn.Module] = [ConvBNReLU(inp, hidden, 1, act=nn.SiLU)] if expand != 1 else []
        layers += [ConvBNReLU(hidden, hidden, kernel, stride, hidden, nn.SiLU),
                   SqueezeExcitation(hidden, max(1, inp // 4), nn.Sigmoid, nn.SiLU),
                   ConvBNReLU(hidden, oup, 1, act=None)]  # fmt: skip
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = StochasticDepth()

    def forward(self, x: Tensor) -> Tensor:
        result = self.block(x)
        if self.use_res_connect:
            result = self.stochastic_depth(result)
            result += x
        return result


@member("EfficientNet", image(64), inside=0, quantizable=True)
class EfficientNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvBNReLU(3, 8, 3, 2, act=nn.SiLU), MBConv(8, 8, 3, 1, 1), MBConv(8, 12, 3, 2, 6),
            MBConv(12, 12, 3, 1, 6), MBConv(12, 16, 5, 2, 6), ConvBNReLU(16, 64, 1, act=nn.SiLU),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2, inplace=True), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class SameConv(nn.Conv2d):
    """TensorFlow's SAME padding, computed from the input's size as the popular ports do."""

    def forward(self, x: Tensor) -> Tensor:
        ih, iw = x.size()[-2:]
        kh, kw = self.weight.size()[-2:]
        sh, sw = self.stride
        oh, ow = -(-ih // sh), -(-iw // sw)
        pad_h = max((oh - 1) * sh + (kh - 1) + 1 - ih, 0)
        pad_w = max((ow - 1) * sw + (kw - 1) + 1 - iw, 0)
        if pad_h > 0 or pad_w > 0:
            x = F.pad(x, [pad_w // 2, pad_w - pad_w // 2, pad_h // 2, pad_h - pad_h // 2])
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


@member("EfficientNet", image(33), inside=0)
class EfficientNetSamePadding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, 8, 3, 2, bias=False)
        self.bn0 = nn.BatchNorm2d(8, momentum=0.01, eps=1e-3)
        self.dw = SameConv(8, 8, 5, 2, groups=8, bias=False)
        self.bn1 = nn.BatchNorm2d(8, eps=1e-3)
        self.reduce, self.expand = SameConv(8, 2, 1), SameConv(2, 8, 1)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn0(self.stem(x))
        x = x * torch.sigmoid(x)
        x = F.silu(self.bn1(self.dw(x)))
        squeezed = F.adaptive_avg_pool2d(x, 1)
        squeezed = self.expand(F.silu(self.reduce(squeezed)))
        x = torch.sigmoid(squeezed) * x
        x = F.adaptive_avg_pool2d(x, 1).flatten(start_dim=1)
        return self.head(x)


# --- MNASNet ---------------------------------------------------------------------------------------------------


class MnasBlock(nn.Module):
    def __init__(self, inp: int, oup: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        mid = inp * expand
        self.apply_residual = inp == oup and stride == 1
        self.layers = nn.Sequential(
            nn.Conv2d(inp, mid, 1, bias=False), nn.BatchNorm2d(mid, momentum=3e-4), nn.ReLU(inplace=True),
            nn.Conv2d(mid, mid, kernel, padding=kernel // 2, stride=stride, groups=mid, bias=False),
            nn.BatchNorm2d(mid, momentum=3e-4), nn.ReLU(inplace=True),
            nn.Conv2d(mid, oup, 1, bias=False), nn.BatchNorm2d(oup, momentum=3e-4),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        if self.apply_residual:
            return self.layers(x) + x
        return self.layers(x)


@member("MNASNet", image(32), inside=0, quantizable=True)
class MNASNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
            nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
            nn.Conv2d(16, 8, 1, bias=False), nn.BatchNorm2d(8),
            MnasBlock(8, 16, 3, 2, 3), MnasBlock(16, 16, 3, 1, 3), MnasBlock(16, 24, 5, 2, 6),
            nn.Conv2d(24, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(p=0.2, inplace=True), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x)
        x = x.mean([2, 3])
        return self.classifier(x)


# --- ShuffleNetV2: chunk, cat, channel shuffle by view and transpose ------------------------------------------------


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    batchsize, num_channels, height, width = x.size()
    channels_per_group = num_channels // groups
    x = x.view(batchsize, groups, channels_per_group, height, width)
    x = torch.transpose(x, 1, 2).contiguous()
    return x.view(batchsize, num_channels, height, width)


class ShuffleUnit(nn.Module):
    def __init__(self, inp: int, oup: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        half = oup // 2
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(
                nn.Conv2d(inp, inp, 3, stride, 1, groups=inp, bias=False), nn.BatchNorm2d(inp),
                nn.Conv2d(inp, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(inplace=True),
            )  # fmt: skip
        self.branch2 = nn.Sequential(
            nn.Conv2d(inp if stride > 1 else half, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(inplace=True),
            nn.Conv2d(half, half, 3, stride, 1, groups=half, bias=False), nn.BatchNorm2d(half),
            nn.Conv2d(half, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(inplace=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            x1, x2 = x.chunk(2, dim=1)
            out = torch.cat((x1, self.branch2(x2)), dim=1)
        else:
            out = torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        return channel_shuffle(out, 2)


@member("ShuffleNetV2", image(64), inside=0, quantizable=True)
class ShuffleNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU(inplace=True))
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.stage2 = nn.Sequential(ShuffleUnit(12, 24, 2), ShuffleUnit(24, 24, 1), ShuffleUnit(24, 24, 1))
        self.stage3 = nn.Sequential(ShuffleUnit(24, 48, 2), ShuffleUnit(48, 48, 1))
        self.conv5 = nn.Sequential(nn.Conv2d(48, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(x))
        x = self.conv5(self.stage3(self.stage2(x)))
        x = x.mean([2, 3])  # globalpool
        return self.fc(x)


@member("ShuffleNetV1", image(32), inside=0)
class ShuffleNetV1(nn.Module):
    """Grouped 1x1 convolutions around a shuffle, written with reshape and permute, and nn.ChannelShuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 3, 2, 1)
        self.gconv1 = nn.Sequential(nn.Conv2d(24, 24, 1, groups=3, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(24, 24, 3, 2, 1, groups=24, bias=False), nn.BatchNorm2d(24))
        self.gconv2 = nn.Sequential(nn.Conv2d(24, 24, 1, groups=3, bias=False), nn.BatchNorm2d(24))
        self.shuffle = nn.ChannelShuffle(3)
        self.shortcut = nn.AvgPool2d(3, stride=2, padding=1)
        self.fc = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        n, c, h, w = x.shape
        out = self.gconv1(x)
        out = out.reshape(n, 3, c // 3, h, w).permute(0, 2, 1, 3, 4).reshape(n, c, h, w)
        out = self.shuffle(self.gconv2(self.depthwise(out)))
        x = torch.cat([out, self.shortcut(x)], 1)
        return self.fc(F.relu(x).mean((-1, -2)))


# --- SqueezeNet: fire modules, ceil-mode pooling, a convolution as classifier --------------------------------------


class Fire(nn.Module):
    def __init__(self, inp: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inp, squeeze, kernel_size=1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeeze, expand, kernel_size=1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeeze, expand, kernel_size=3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        return torch.cat([self.expand1x1_activation(self.expand1x1(x)),
                          self.expand3x3_activation(self.expand3x3(x))], 1)  # fmt: skip


@member("SqueezeNet", image(64), inside=0, quantizable=True)
class SqueezeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, kernel_size=3, stride=2), nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True), Fire(16, 4, 16), Fire(32, 4, 16),
            nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True), Fire(32, 8, 32),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(p=0.5), nn.Conv2d(64, 10, kernel_size=1), nn.ReLU(inplace=True),
                                        nn.AdaptiveAvgPool2d((1, 1)))  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = self.classifier(x)
        return torch.flatten(x, 1)
