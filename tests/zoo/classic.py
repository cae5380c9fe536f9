"""Classifiers: ResNet, ResNeXt, DenseNet, Inception, GoogLeNet, VGG, SE-ResNet, and what came with them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.members import image, member, tensors


class BasicBlock(nn.Module):
    def __init__(self, inplanes: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    def __init__(self, inplanes: int, planes: int, stride: int = 1, groups: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, dilation, dilation, groups, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * 2, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 2)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inplanes != planes * 2:
            self.downsample = nn.Sequential(nn.Conv2d(inplanes, planes * 2, 1, stride, bias=False),
                                            nn.BatchNorm2d(planes * 2))  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += identity
        return self.relu(out)


class Backbone(nn.Module):
    """A ResNet: stem, max pool, stages, global pool, flatten, linear."""

    def __init__(self, *stages: nn.Module, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layers = nn.Sequential(*stages)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.avgpool(self.layers(x))
        x = torch.flatten(x, 1)
        return self.fc(x)


@member("ResNet", image(64), inside=0, quantizable=True)
def resnet_basic() -> nn.Module:
    return Backbone(BasicBlock(8, 8), BasicBlock(8, 16, 2), BasicBlock(16, 16), BasicBlock(16, 24, 2), width=24)


@member("ResNet", image(64), inside=0, quantizable=True)
def resnet_bottleneck() -> nn.Module:
    return Backbone(Bottleneck(8, 8), Bottleneck(16, 16, 2), Bottleneck(32, 16, dilation=2), width=32)


@member("ResNet", image(64), inside=0, script=True)
def resnet_scripted() -> nn.Module:
    return resnet_basic()


@member("ResNeXt", image(64), inside=0, quantizable=True)
def resnext() -> nn.Module:
    stages = Bottleneck(8, 16, groups=4), Bottleneck(32, 16, 2, groups=4), Bottleneck(32, 16, groups=4)
    return Backbone(*stages, width=32)


@member("ResNet", image(32), inside=0)
class PreActivationResNet(nn.Module):
    """Batch norm before the convolution (nothing to fold into), shortcut by strided slicing and zero padding."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1, self.conv1 = nn.BatchNorm2d(8), nn.Conv2d(8, 16, 3, 2, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.linear = nn.Linear(16 * 4 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4), "constant", 0)
        out = self.conv1(F.relu(self.bn1(x)))
        out = self.conv2(F.relu(self.bn2(out))) + shortcut
        out = F.avg_pool2d(out, 4)
        out = out.view(out.size(0), -1)
        return self.linear(out)


class SELayer(nn.Module):
    def __init__(self, channel: int, reduction: int = 4) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(nn.Linear(channel, channel // reduction, bias=False), nn.ReLU(inplace=True),
                                nn.Linear(channel // reduction, channel, bias=False), nn.Sigmoid())  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        y = self.avg_pool(x).view(b, c)
        y = self.fc(y).view(b, c, 1, 1)
        return x * y.expand_as(x)


class SEBlock(BasicBlock):
    def __init__(self, inplanes: int, planes: int, stride: int = 1) -> None:
        super().__init__(inplanes, planes, stride)
        self.se = SELayer(planes)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.se(self.bn2(self.conv2(out)))
        return self.relu(out + identity)


@member("Squeeze-excitation", image(32, batch=2), inside=0, quantizable=True)
def se_resnet() -> nn.Module:
    return Backbone(SEBlock(8, 8), SEBlock(8, 16, 2), width=16)


@member("Squeeze-excitation", image(32), inside=0)
class CBAM(nn.Module):
    """Channel and spatial attention: mean and max over channels, joined; element-wise gates."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.LeakyReLU(0.1, inplace=True))
        self.mlp = nn.Sequential(nn.Conv2d(16, 4, 1, bias=False), nn.ReLU(), nn.Conv2d(4, 16, 1, bias=False))
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x * torch.sigmoid(self.mlp(F.adaptive_avg_pool2d(x, 1)) + self.mlp(F.adaptive_max_pool2d(x, 1)))
        average, peak = torch.mean(x, dim=1, keepdim=True), torch.max(x, dim=1, keepdim=True)[0]
        x = x * self.spatial(torch.cat([average, peak], dim=1)).sigmoid()
        return self.head(torch.amax(x, (2, 3)))


class ECALayer(nn.Module):
    """Channel attention by a 1-D convolution across channels."""

    def __init__(self, kernel: int = 3) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv1d(1, 1, kernel_size=kernel, padding=(kernel - 1) // 2, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        y = self.avg_pool(x)
        y = self.conv(y.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        return x * self.sigmoid(y).expand_as(x)


@member("Squeeze-excitation", image(32))
def eca_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), ECALayer(), nn.Conv2d(8, 8, 3, 2, 1), nn.Flatten(),
                         nn.Linear(512, 4))  # fmt: skip


# --- DenseNet: lists of features that are concatenated ----------------------------------------------------------


class DenseLayer(nn.Module):
    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.relu1 = nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(channels, 4 * growth, kernel_size=1, stride=1, bias=False)
        self.norm2, self.relu2 = nn.BatchNorm2d(4 * growth), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4 * growth, growth, kernel_size=3, stride=1, padding=1, bias=False)

    def forward(self, inputs: list[Tensor]) -> Tensor:
        concated = torch.cat(inputs, 1)
        bottleneck = self.conv1(self.relu1(self.norm1(concated)))
        return self.conv2(self.relu2(self.norm2(bottleneck)))


class DenseBlock(nn.ModuleDict):
    def __init__(self, count: int, channels: int, growth: int) -> None:
        super().__init__({f"denselayer{i + 1}": DenseLayer(channels + i * growth, growth) for i in range(count)})

    def forward(self, init_features: Tensor) -> Tensor:
        features = [init_features]
        for _, layer in self.items():
            features.append(layer(features))
        return torch.cat(features, 1)


@member("DenseNet", image(64), inside=0, quantizable=True)
class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        transition = nn.Sequential(nn.BatchNorm2d(24), nn.ReLU(inplace=True), nn.Conv2d(24, 12, 1, bias=False),
                                   nn.AvgPool2d(2, 2))  # fmt: skip
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 7, 2, 3, bias=False), nn.BatchNorm2d(12), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1),
            DenseBlock(3, 12, 4), transition, DenseBlock(3, 12, 4), nn.BatchNorm2d(24),
        )  # fmt: skip
        self.classifier = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        out = F.relu(features, inplace=True)
        out = F.adaptive_avg_pool2d(out, (1, 1))
        out = torch.flatten(out, 1)
        return self.classifier(out)


# --- Inception and GoogLeNet: branches ---------------------------------------------------------------------------


class BasicConv2d(nn.Module):
    def __init__(self, inp: int, oup: int, **kwargs: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inp, oup, bias=False, **kwargs)  # type: ignore[arg-type]
        self.bn = nn.BatchNorm2d(oup, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = self.bn(x)
        return F.relu(x, inplace=True)


class InceptionA(nn.Module):
    def __init__(self, inp: int) -> None:
        super().__init__()
        self.branch1x1 = BasicConv2d(inp, 8, kernel_size=1)
        self.branch5x5_1 = BasicConv2d(inp, 6, kernel_size=1)
        self.branch5x5_2 = BasicConv2d(6, 8, kernel_size=5, padding=2)
        self.branch3x3 = nn.ModuleList([BasicConv2d(inp, 8, kernel_size=1),
                                        BasicConv2d(8, 12, kernel_size=3, padding=1),
                                        BasicConv2d(12, 12, kernel_size=3, padding=1)])  # fmt: skip
        self.branch_pool = BasicConv2d(inp, 4, kernel_size=1)

    def _forward(self, x: Tensor) -> list[Tensor]:
        branch3x3 = x
        for layer in self.branch3x3:
            branch3x3 = layer(branch3x3)
        branch_pool = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        return [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), branch3x3, self.branch_pool(branch_pool)]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(self._forward(x), 1)


class InceptionC(nn.Module):
    """Factorized 7x7: 1x7 and 7x1, and a strided branch beside a max pool."""

    def __init__(self, inp: int) -> None:
        super().__init__()
        self.branch7x7 = nn.Sequential(BasicConv2d(inp, 8, kernel_size=1),
                                       BasicConv2d(8, 8, kernel_size=(1, 7), padding=(0, 3)),
                                       BasicConv2d(8, 8, kernel_size=(7, 1), padding=(3, 0)),
                                       BasicConv2d(8, 8, kernel_size=3, stride=2))  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch7x7(x), F.max_pool2d(x, kernel_size=3, stride=2)], 1)


@member("Inception", image(64), inside=0, quantizable=True)
class InceptionV3(nn.Module):
    """With the input transformed channel by channel, as torchvision's does for its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = BasicConv2d(3, 12, kernel_size=3, stride=2)
        self.maxpool1 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.mixed5, self.mixed6 = InceptionA(12), InceptionC(32)
        self.avgpool, self.dropout = nn.AdaptiveAvgPool2d((1, 1)), nn.Dropout(p=0.5)
        self.fc = nn.Linear(40, 10)

    def forward(self, x: Tensor) -> Tensor:
        x_ch0 = torch.unsqueeze(x[:, 0], 1) * (0.229 / 0.5) + (0.485 - 0.5) / 0.5
        x_ch1 = torch.unsqueeze(x[:, 1], 1) * (0.224 / 0.5) + (0.456 - 0.5) / 0.5
        x_ch2 = torch.unsqueeze(x[:, 2], 1) * (0.225 / 0.5) + (0.406 - 0.5) / 0.5
        x = torch.cat((x_ch0, x_ch1, x_ch2), 1)
        x = self.mixed6(self.mixed5(self.maxpool1(self.stem(x))))
        x = self.dropout(self.avgpool(x))
        return self.fc(torch.flatten(x, 1))


class GoogLeNetInception(nn.Module):
    def __init__(self, inp: int) -> None:
        super().__init__()
        self.branch1 = BasicConv2d(inp, 8, kernel_size=1)
        self.branch2 = nn.Sequential(BasicConv2d(inp, 6, kernel_size=1), BasicConv2d(6, 12, kernel_size=3, padding=1))
        self.branch3 = nn.Sequential(BasicConv2d(inp, 4, kernel_size=1), BasicConv2d(4, 8, kernel_size=3, padding=1))
        self.branch4 = nn.Sequential(nn.MaxPool2d(kernel_size=3, stride=1, padding=1, ceil_mode=True),
                                     BasicConv2d(inp, 4, kernel_size=1))  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        outputs = [self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)]
        return torch.cat(outputs, 1)


@member("GoogLeNet", image(64), inside=0, quantizable=True)
class GoogLeNet(nn.Module):
    """Returns a dict in eval mode as well; local response norm as in the paper; ceil-mode pools."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = BasicConv2d(3, 8, kernel_size=7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.norm = nn.LocalResponseNorm(5)
        self.inception3a, self.inception3b = GoogLeNetInception(8), GoogLeNetInception(32)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = GoogLeNetInception(32)
        self.fc = nn.Linear(32, 10)
        self.use_norm = False

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool1(self.conv1(x))
        if self.use_norm:
            x = self.norm(x)
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = F.adaptive_avg_pool2d(self.inception4a(x), 1)
        return self.fc(x.flatten(1))


@member("GoogLeNet", image(32), inside=0)
def googlenet_with_response_norm() -> nn.Module:
    net = GoogLeNet()
    net.use_norm = True
    return net


# --- VGG and its elders --------------------------------------------------------------------------------------


@member("VGG", image(32), inside=0)
class VGG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in (8, "M", 16, 16, "M", 24, "M"):
            if width == "M":
                layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
            else:
                layers += [nn.Conv2d(channels, int(width), 3, padding=1), nn.ReLU(inplace=True)]
                channels = int(width)
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(nn.Linear(24 * 4, 32), nn.ReLU(True), nn.Dropout(), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        x = x.view(x.size(0), -1)
        return self.classifier(x)


@member("VGG", image(32), inside=0, quantizable=True)
class VGGWithBatchNorm(nn.Module):
    """`flatten` instead of `view`, which torch refuses behind a quantized pool: its result lies channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2, 2),
            nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.MaxPool2d(2, 2),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d((4, 4))
        self.classifier = nn.Sequential(nn.Linear(256, 32), nn.ReLU(True), nn.Dropout(), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(self.avgpool(self.features(x)), 1)
        return self.classifier(x)


@member("VGG", image(28, channels=1, batch=3), inside=0)
class LeNet(nn.Module):
    """The tutorial's network: log_softmax at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(16 * 4 * 4, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
        x = F.max_pool2d(torch.relu_(self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = F.dropout(F.relu(self.fc2(x)), training=self.training)
        return F.log_softmax(self.fc3(x), dim=1)


class Normalized(nn.Module):
    """Preprocessing inside the network: bytes scaled, mean and deviation as buffers."""

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body((x - self.mean) / self.std)


@member("VGG", image(32), inside=0)
def normalized_vgg() -> nn.Module:
    return nn.Sequential(Normalized(VGG()), nn.Softmax(dim=-1))


@member("Multiple inputs", tensors((2, 3, 32, 32), (2, 3, 32, 32), (2, 5)), inside=0)
class Siamese(nn.Module):
    """Two images through one body, a vector beside them; a dict comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 5, 2, bias=False), nn.BatchNorm2d(8), nn.PReLU(8), nn.MaxPool2d(2),
                                  nn.Conv2d(8, 8, 3), nn.ELU(inplace=True), nn.Flatten(),
                                  nn.Linear(200, 16))  # fmt: skip
        self.meta = nn.Linear(5, 4, bias=False)
        self.join = nn.Linear(20, 1)

    def forward(self, left: Tensor, right: Tensor, meta: Tensor) -> dict[str, Tensor]:
        a, b = self.body(left), self.body(right)
        distance = torch.abs(a - b)
        joined = torch.cat([distance, torch.tanh(self.meta(meta)) + 1.0], dim=-1)
        return {"score": torch.sigmoid(self.join(joined)).squeeze(-1), "left": F.normalize(a, dim=1)}
