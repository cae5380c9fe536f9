"""Networks that give pixels or boxes: U-Net, DeepLab, LR-ASPP, FPN, SSD, super-resolution, style transfer."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.classic import BasicBlock, Bottleneck
from tests.zoo.members import image, member, tensors
from tests.zoo.mobile import ConvBNReLU, InvertedResidual

# --- U-Net with each kind of upsampling --------------------------------------------------------------------------


class DoubleConv(nn.Module):
    def __init__(self, inp: int, oup: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(inp, oup, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(oup), nn.ReLU(inplace=True),
            nn.Conv2d(oup, oup, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(oup), nn.ReLU(inplace=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.double_conv(x)


class Up(nn.Module):
    """Upsample, pad to the skip connection's size, join, convolve."""

    def __init__(self, deep: int, skip: int, oup: int, upsample: nn.Module) -> None:
        super().__init__()
        self.up = upsample
        self.conv = DoubleConv(deep + skip, oup)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        x1 = self.up(x1)
        diff_y = x2.size()[2] - x1.size()[2]
        diff_x = x2.size()[3] - x1.size()[3]
        x1 = F.pad(x1, [diff_x // 2, diff_x - diff_x // 2, diff_y // 2, diff_y - diff_y // 2])
        return self.conv(torch.cat([x2, x1], dim=1))


class UNet(nn.Module):
    def __init__(self, upsample: dict[str, object] | None) -> None:
        super().__init__()
        self.inc = DoubleConv(3, 8)
        self.down1 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(8, 12))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(12, 16))

        def up(channels: int) -> nn.Module:
            if upsample is None:
                return nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)
            return nn.Upsample(scale_factor=2, **upsample)  # type: ignore[arg-type]

        self.up1, self.up2 = Up(16, 12, 12, up(16)), Up(12, 8, 8, up(12))
        self.outc = nn.Conv2d(8, 2, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        return self.outc(self.up2(self.up1(x3, x2), x1))


@member("U-Net", image(32), inside=0, quantizable=True)
def unet_nearest() -> nn.Module:
    return UNet({"mode": "nearest"})


@member("U-Net", image(32, batch=2), inside=0, quantizable=True)
def unet_bilinear() -> nn.Module:
    return UNet({"mode": "bilinear", "align_corners": False})


@member("U-Net", image(32), inside=0)
def unet_bilinear_corners() -> nn.Module:
    return UNet({"mode": "bilinear", "align_corners": True})


@member("U-Net", image(32), inside=0)
def unet_transposed() -> nn.Module:
    return UNet(None)


@member("U-Net", image(38), inside=0)
def unet_odd_size() -> nn.Module:
    """38 halves to 19 and 9: the decoder pads by one."""
    return UNet(None)


class ResUNet(nn.Module):
    """Deconvolutions of 3 and 4 with output padding, outputs at two scales as a list, sigmoid and softmax heads."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.down = BasicBlock(3, 8), BasicBlock(8, 16, 2)
        self.deeper = BasicBlock(16, 16, 2)
        self.up1 = nn.ConvTranspose2d(16, 16, 4, stride=2, padding=1, bias=False)
        self.up2 = nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, output_padding=1)
        self.mask, self.classes = nn.Conv2d(8, 1, 1), nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        a = self.enter(x)
        b = self.down(a)
        c = F.relu(self.up1(self.deeper(b))) + b
        d = F.leaky_relu(self.up2(c), 0.2) + a
        return [torch.sigmoid(self.mask(d)), torch.softmax(self.classes(c), dim=1)]


member("U-Net", image(32), inside=0)(ResUNet)


# --- DeepLab and LR-ASPP -----------------------------------------------------------------------------------------


class ASPPPooling(nn.Sequential):
    def __init__(self, inp: int, oup: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Conv2d(inp, oup, 1, bias=False), nn.BatchNorm2d(oup), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        for mod in self:
            x = mod(x)
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class ASPP(nn.Module):
    def __init__(self, inp: int, rates: tuple[int, ...], oup: int = 12) -> None:
        super().__init__()
        modules: list[nn.Module] = [nn.Sequential(nn.Conv2d(inp, oup, 1, bias=False), nn.BatchNorm2d(oup), nn.ReLU())]
        for rate in rates:
            modules.append(nn.Sequential(nn.Conv2d(inp, oup, 3, padding=rate, dilation=rate, bias=False),
                                         nn.BatchNorm2d(oup), nn.ReLU()))  # fmt: skip
        modules.append(ASPPPooling(inp, oup))
        self.convs = nn.ModuleList(modules)
        self.project = nn.Sequential(nn.Conv2d(len(modules) * oup, oup, 1, bias=False), nn.BatchNorm2d(oup), nn.ReLU(),
                                     nn.Dropout(0.5))  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        res = []
        for conv in self.convs:
            res.append(conv(x))
        return self.project(torch.cat(res, dim=1))


@member("DeepLab", image(64), inside=0, quantizable=True)
class DeepLabV3(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(ConvBNReLU(3, 8, stride=2), Bottleneck(8, 8, 2), Bottleneck(16, 8, dilation=2))
        self.classifier = nn.Sequential(ASPP(16, (3, 6)), nn.Conv2d(12, 12, 3, padding=1, bias=False),
                                        nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 5, 1))  # fmt: skip
        self.aux = nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        input_shape = x.shape[-2:]
        features = self.backbone(x)
        result: dict[str, Tensor] = OrderedDict()
        result["out"] = F.interpolate(self.classifier(features), size=input_shape, mode="bilinear", align_corners=False)
        result["aux"] = F.interpolate(self.aux(features), size=input_shape, mode="bilinear", align_corners=False)
        return result


@member("DeepLab", image(48), inside=0)
class DeepLabV3Plus(nn.Module):
    """A decoder that joins low-level features; the class of every pixel comes out as int64."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = ConvBNReLU(3, 8, stride=2), BasicBlock(8, 16, 2)
        self.aspp, self.reduce = ASPP(16, (2, 4)), ConvBNReLU(8, 4, kernel=1)
        self.last = nn.Sequential(ConvBNReLU(16, 12), nn.Conv2d(12, 4, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low = self.low(x)
        deep = self.aspp(self.high(low))
        deep = F.interpolate(deep, size=low.size()[2:], mode="bilinear", align_corners=True)
        logits = self.last(torch.cat((deep, self.reduce(low)), dim=1))
        logits = F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=True)
        return logits, logits.argmax(1)


@member("LR-ASPP", image(64), inside=0, quantizable=True)
class LRASPP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = ConvBNReLU(3, 8, stride=4), InvertedResidual(8, 16, 2, 3)
        self.cbr = nn.Sequential(nn.Conv2d(16, 12, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU(inplace=True))
        self.scale = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 12, 1, bias=False), nn.Sigmoid())
        self.low_classifier, self.high_classifier = nn.Conv2d(8, 5, 1), nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        low = self.low(x)
        high = self.high(low)
        y = self.cbr(high)
        s = self.scale(high)
        y = y * s
        y = F.interpolate(y, size=low.shape[-2:], mode="bilinear", align_corners=False)
        out = self.low_classifier(low) + self.high_classifier(y)
        return {"out": F.interpolate(out, size=x.shape[-2:], mode="bilinear", align_corners=False)}


@member("DeepLab", image(32), inside=0)
class PSPNet(nn.Module):
    """Pyramid pooling: adaptive pools of 1, 2, 3 and 6, resized back and joined."""

    def __init__(self) -> None:
        super().__init__()
        self.body = ConvBNReLU(3, 12, stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(size), nn.Conv2d(12, 3, 1, bias=False)) for size in (1, 2, 4, 8)
        )
        self.final = nn.Conv2d(24, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        feats = self.body(x)
        h, w = feats.size(2), feats.size(3)
        priors = [F.interpolate(stage(feats), size=(h, w), mode="bilinear") for stage in self.stages] + [feats]
        return F.log_softmax(self.final(torch.cat(priors, 1)), dim=1)


# --- FPN, SSD, anchor-free heads ---------------------------------------------------------------------------------


class Stages(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c2, self.c3, self.c4 = ConvBNReLU(3, 8, stride=4), BasicBlock(8, 12, 2), BasicBlock(12, 16, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        c2 = self.c2(x)
        c3 = self.c3(c2)
        return {"0": c2, "1": c3, "2": self.c4(c3)}


@member("FPN", image(64), inside=0, quantizable=True)
class FPN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = Stages()
        self.inner = nn.ModuleList(nn.Conv2d(width, 8, 1) for width in (8, 12, 16))
        self.layer = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = list(self.body(x).values())
        last_inner = self.inner[-1](features[-1])
        results = [self.layer[-1](last_inner)]
        for idx in range(len(features) - 2, -1, -1):
            inner_lateral = self.inner[idx](features[idx])
            feat_shape = inner_lateral.shape[-2:]
            inner_top_down = F.interpolate(last_inner, size=feat_shape, mode="nearest")
            last_inner = inner_lateral + inner_top_down
            results.insert(0, self.layer[idx](last_inner))
        results.append(F.max_pool2d(results[-1], 1, 2, 0))
        return {str(index): result for index, result in enumerate(results)}


@member("SSD", image(64), quantizable=True)
class SSDHead(nn.Module):
    """torchvision's way: view, permute, reshape of every level, joined along the anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Stages()
        self.classes = nn.ModuleList(nn.Conv2d(width, 3 * 5, 3, padding=1) for width in (8, 12, 16))
        self.boxes = nn.ModuleList(nn.Conv2d(width, 3 * 4, 3, padding=1) for width in (8, 12, 16))

    def levels(self, heads: nn.ModuleList, features: list[Tensor], columns: int) -> Tensor:
        all_results = []
        for head, feature in zip(heads, features, strict=True):
            results = head(feature)
            n, _, h, w = results.shape
            results = results.view(n, -1, columns, h, w)
            results = results.permute(0, 3, 4, 1, 2)
            results = results.reshape(n, -1, columns)
            all_results.append(results)
        return torch.cat(all_results, dim=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = list(self.body(x).values())
        return {"bbox_regression": self.levels(self.boxes, features, 4),
                "cls_logits": F.softmax(self.levels(self.classes, features, 5), dim=-1)}  # fmt: skip


@member("SSD", image(64, batch=2), inside=0)
class SSDLite(nn.Module):
    """The older way: permute to channels last, contiguous, view(n, -1, k); lists come out."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Stages()
        self.loc = nn.ModuleList(
            nn.Sequential(ConvBNReLU(width, width, groups=width), nn.Conv2d(width, 8, 1)) for width in (8, 12, 16)
        )
        self.conf = nn.ModuleList(nn.Conv2d(width, 6, 3, padding=1) for width in (8, 12, 16))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        sources = list(self.body(x).values())
        loc, conf = [], []
        for s, head_l, head_c in zip(sources, self.loc, self.conf, strict=True):
            loc.append(head_l(s).permute(0, 2, 3, 1).contiguous())
            conf.append(head_c(s).permute(0, 2, 3, 1).contiguous())
        boxes = torch.cat([o.view(o.size(0), -1) for o in loc], 1)
        scores = torch.cat([o.view(o.size(0), -1) for o in conf], 1)
        return boxes.view(boxes.size(0), -1, 4), scores.view(scores.size(0), -1, 3).sigmoid(), sources


def conv_silu(inp: int, oup: int, kernel: int = 1, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inp, oup, kernel, stride, kernel // 2, bias=False),
                         nn.BatchNorm2d(oup, eps=1e-3, momentum=0.03), nn.SiLU(inplace=True))  # fmt: skip


class C3(nn.Module):
    def __init__(self, inp: int, oup: int) -> None:
        super().__init__()
        half = oup // 2
        self.cv1, self.cv2, self.cv3 = conv_silu(inp, half), conv_silu(inp, half), conv_silu(2 * half, oup)
        self.m = nn.Sequential(conv_silu(half, half), conv_silu(half, half, 3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv1(x)
        return self.cv3(torch.cat((y + self.m(y), self.cv2(x)), 1))


class SPPF(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = conv_silu(width, width // 2), conv_silu(width * 2, width)
        self.m = nn.MaxPool2d(kernel_size=5, stride=1, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cv1(x)
        y1 = self.m(x)
        y2 = self.m(y1)
        return self.cv2(torch.cat([x, y1, y2, self.m(y2)], 1))


@member("YOLO head", image(64))
class YOLO(nn.Module):
    """C3, SPPF, nearest upsampling, and the anchor head: view to rank 5, permute, grids and anchors as buffers."""

    grid: Tensor
    anchors: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_silu(3, 8, 6, 2), conv_silu(8, 16, 3, 2), C3(16, 16))
        self.down = nn.Sequential(conv_silu(16, 16, 3, 2), C3(16, 16), SPPF(16))
        self.up, self.join = nn.Upsample(None, 2, "nearest"), C3(32, 16)
        self.detect = nn.ModuleList([nn.Conv2d(16, 3 * 7, 1), nn.Conv2d(16, 3 * 7, 1)])
        self.register_buffer("anchors", torch.rand(2, 3, 2) * 8 + 1)
        self.stride = (3.75, 8.0)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        fine = self.stem(x)
        deep = self.down(fine)
        features = [self.join(torch.cat([F.interpolate(deep, size=fine.shape[2:]), fine], 1)), deep]
        z, raw = [], []
        for i, feature in enumerate(features):
            y = self.detect[i](feature)
            bs, _, ny, nx = y.shape
            y = y.view(bs, 3, 7, ny, nx).permute(0, 1, 3, 4, 2).contiguous()
            raw.append(y)
            yv, xv = torch.meshgrid(torch.arange(ny), torch.arange(nx), indexing="ij")
            grid = torch.stack((xv, yv), 2).expand(1, 3, ny, nx, 2).float() - 0.5
            anchor = self.anchors[i].view(1, 3, 1, 1, 2)
            xy, wh, conf = y.sigmoid().split((2, 2, 3), 4)
            xy = (xy * 2 + grid) * self.stride[i]
            wh = (wh * 2) ** 2 * anchor
            z.append(torch.cat((xy, wh, conf), 4).view(bs, 3 * nx * ny, 7))
        return torch.cat(z, 1), raw


@member("FPN", image(64), inside=0)
class CenterNet(nn.Module):
    """Heat map with its local maxima kept (max pool and comparison), heads in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(BasicBlock(3, 8, 2), BasicBlock(8, 16, 2), nn.ConvTranspose2d(16, 16, 4, 2, 1),
                                  nn.BatchNorm2d(16), nn.ReLU(inplace=True))  # fmt: skip
        self.heads = nn.ModuleDict({name: nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.ReLU(inplace=True),
                                                        nn.Conv2d(8, width, 1))
                                    for name, width in {"hm": 3, "wh": 2, "reg": 2}.items()})  # fmt: skip

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.body(x)
        result = {name: head(features) for name, head in self.heads.items()}
        heat = result["hm"].sigmoid_()
        keep = (F.max_pool2d(heat, 3, stride=1, padding=1) == heat).float()
        result["hm"] = heat * keep
        return result


# --- super-resolution, style, generation -------------------------------------------------------------------------


@member("Super-resolution", image(24, channels=1), inside=0)
class ESPCN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, (5, 5), (1, 1), (2, 2)), nn.Conv2d(16, 12, (3, 3), (1, 1), (1, 1))
        self.conv3 = nn.Conv2d(12, 9, (3, 3), (1, 1), (1, 1))
        self.pixel_shuffle = nn.PixelShuffle(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv1(x))
        x = self.relu(self.conv2(x))
        return self.pixel_shuffle(self.conv3(x))


@member("Super-resolution", image(16), inside=0)
class EDSR(nn.Module):
    """Residual scaling, several channels through pixel_shuffle, a global skip by bilinear resize, clamp at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 12, 3, padding=1)
        self.body = nn.ModuleList(
            nn.Sequential(nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(True), nn.Conv2d(12, 12, 3, padding=1))
            for _ in range(2)
        )
        self.up, self.tail = nn.Conv2d(12, 48, 3, padding=1), nn.Conv2d(12, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.head(x)
        res = shallow
        for block in self.body:
            res = res + block(res).mul(0.1)
        res += shallow
        res = self.tail(F.pixel_shuffle(self.up(res), 2))
        skip = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return (res + skip).clamp(0, 1)


@member("Super-resolution", image(16), inside=0)
class PixelUnshuffling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unshuffle, self.shuffle = nn.PixelUnshuffle(2), nn.PixelShuffle(2)
        self.body = nn.Sequential(nn.Conv2d(12, 16, 3, padding=1), nn.PReLU(), nn.Conv2d(16, 12, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.unshuffle(x)
        return x - self.shuffle(self.body(y) + y)


@member("Instance norm", image(32), inside=0)
class StyleTransfer(nn.Module):
    """Reflection padding, instance norm, nearest upsampling: fast neural style."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.ReflectionPad2d(4), nn.Conv2d(3, 8, 9), nn.InstanceNorm2d(8, affine=True),
                                  nn.ReLU(), nn.ReflectionPad2d(1), nn.Conv2d(8, 12, 3, 2),
                                  nn.InstanceNorm2d(12, affine=True), nn.ReLU())  # fmt: skip
        self.residual = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(12, 12, 3), nn.InstanceNorm2d(12), nn.ReLU())
        self.up = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(12, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(x)
        y = self.residual(y) + y
        y = F.interpolate(y, mode="nearest", scale_factor=2)
        return torch.tanh(self.up(y)) * 150 + 255.0 / 2


@member("Group norm", image(32), inside=0)
class GroupNormNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.gn1 = nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.GroupNorm(4, 16)
        self.conv2, self.gn2 = nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.GroupNorm(1, 16)
        self.act, self.fc = nn.SiLU(inplace=True), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.gn1(self.conv1(x)))
        x = x + self.act(self.gn2(self.conv2(x)))
        return self.fc(x.mean(dim=(2, 3)))


@member("Layer norm", image(32))
class LayerNormNet(nn.Module):
    """Over [C, H, W] and over [H, W]; a layer norm without parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.ln1 = nn.Conv2d(3, 8, 3, 2, 1), nn.LayerNorm([8, 16, 16])
        self.conv2, self.ln2 = nn.Conv2d(8, 8, 3, 2, 1), nn.LayerNorm([8, 8])
        self.fc, self.ln3 = nn.Linear(512, 10), nn.LayerNorm(10, elementwise_affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.ln1(self.conv1(x)))
        x = F.relu(self.ln2(self.conv2(x)))
        return self.ln3(self.fc(torch.flatten(x, 1)))


@member("Generator", tensors((2, 16)), inside=0)
class DCGAN(nn.Module):
    """A vector to an image: linear, view to [n, c, h, w], transposed convolutions, tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 24 * 4 * 4)
        self.body = nn.Sequential(nn.BatchNorm2d(24), nn.ReLU(True), nn.ConvTranspose2d(24, 12, 4, 2, 1, bias=False),
                                  nn.BatchNorm2d(12), nn.ReLU(True), nn.ConvTranspose2d(12, 3, 4, 2, 1),
                                  nn.Tanh())  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        return self.body(self.fc(z).view(-1, 24, 4, 4))


@member("Generator", image(32), inside=0)
class AutoEncoder(nn.Module):
    """A variational auto-encoder's mean path; both mean and deviation are returned."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.Sequential(nn.Conv2d(3, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 16, 4, 2, 1),
                                 nn.LeakyReLU(0.2))  # fmt: skip
        self.mu, self.logvar, self.back = nn.Linear(1024, 8), nn.Linear(1024, 8), nn.Linear(8, 1024)
        self.dec = nn.Sequential(nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.LeakyReLU(0.2),
                                 nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Sigmoid())  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.enc(x).view(x.size(0), -1)
        mu, std = self.mu(h), torch.exp(0.5 * self.logvar(h))
        return self.dec(F.relu(self.back(mu)).view(-1, 16, 8, 8)), mu, std
