"""The two networks: a heatmap detector and a crop classifier, both small, both fully convolutional."""

from __future__ import annotations

from torch import Tensor, nn

from functions.train.data import REFERENCE

MULTIPLE = 16  # the detector's input sides are multiples of it
Widths = tuple[int, int, int, int]
WIDTHS: Widths = (24, 48, 88, 144)  # the classifier's


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Separable(nn.Module):
    """A depthwise and a pointwise convolution, with a way around them where the shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(inputs, inputs, kernel, stride, inputs), _conv(inputs, outputs, 1))
        self.around = inputs == outputs and stride == 1

    def forward(self, maps: Tensor) -> Tensor:
        result: Tensor = self.body(maps)
        return result + maps if self.around else result


class Detector(nn.Module):
    """Per cell of 4 x 4 input pixels: is an insect's centre here, how large is it, where exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 16, 3, 2)
        self.quarter = nn.Sequential(Separable(16, 40, 3, 2), Separable(40, 40))
        self.eighth = nn.Sequential(Separable(40, 72, 3, 2), Separable(72, 72), Separable(72, 72))
        self.sixteenth = nn.Sequential(Separable(72, 128, 3, 2), *(Separable(128, 128, 5) for _ in range(4)))
        self.to_eighth, self.mix_eighth = _conv(128, 72, 1), Separable(72, 72)
        self.to_quarter, self.mix_quarter = _conv(72, 40, 1), Separable(40, 40)
        self.head = nn.Sequential(Separable(40, 64), Separable(64, 64), nn.Conv2d(64, 5, 1))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        nn.init.constant_(self.head[2].bias[:1], -4.0)  # insects are rare: start from "nothing here"

    def raw(self, pixels: Tensor) -> Tensor:
        """Batch x 5 x H/4 x W/4: heat logit, log width, log height, offset x, offset y."""
        quarter = self.quarter(self.stem(pixels))
        eighth = self.eighth(quarter)
        eighth = self.mix_eighth(eighth + self.up(self.to_eighth(self.sixteenth(eighth))))
        result: Tensor = self.head(self.mix_quarter(quarter + self.up(self.to_quarter(eighth))))
        return result

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the model file gives: heat 0..1, sizes in input pixels, centres in cells from the cell's corner."""
        raw = self.raw(pixels)
        return raw[:, :1].sigmoid(), raw[:, 1:3].clamp(-3, 3).exp() * REFERENCE, raw[:, 3:5]


class Classifier(nn.Module):
    """A crop to one score per kind. `widths`: channels at 1/2 of the crop's size, there again, at 1/4, at 1/8."""

    def __init__(self, kinds: int, widths: Widths = WIDTHS) -> None:
        super().__init__()
        half, more, quarter, last = widths
        self.body = nn.Sequential(
            _conv(3, half, 3, 2),
            Separable(half, more), Separable(more, more),
            Separable(more, quarter, 3, 2), Separable(quarter, quarter),
            Separable(quarter, last, 3, 2), Separable(last, last), Separable(last, last),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(last, kinds),
        )  # fmt: skip

    def forward(self, pixels: Tensor) -> Tensor:
        """Batch x kinds: logits."""
        result: Tensor = self.body(pixels)
        return result
