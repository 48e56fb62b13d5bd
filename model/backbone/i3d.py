"""I3D, the action network: an Inception-v1 whose convolutions and pools are three-dimensional.

Source: Carreira and Zisserman, "Quo Vadis, Action Recognition?", 2017. State-dict names and arithmetic are those of the
published `rgb_imagenet.pt`, which loads without translation. `width` and `pool` make a network small enough to train on
a CPU out of the same class.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Unit: channels, kernel, stride. Pool: kernel, stride. Mixed: the channels of b0, b1a, b1b, b2a, b2b, b3b.
STAGES: dict[str, tuple] = {
    "Conv3d_1a_7x7": ("unit", 64, 7, 2),
    "MaxPool3d_2a_3x3": ("pool", (1, 3, 3), (1, 2, 2)),
    "Conv3d_2b_1x1": ("unit", 64, 1, 1),
    "Conv3d_2c_3x3": ("unit", 192, 3, 1),
    "MaxPool3d_3a_3x3": ("pool", (1, 3, 3), (1, 2, 2)),
    "Mixed_3b": ("mixed", 64, 96, 128, 16, 32, 32),
    "Mixed_3c": ("mixed", 128, 128, 192, 32, 96, 64),
    "MaxPool3d_4a_3x3": ("pool", (3, 3, 3), (2, 2, 2)),
    "Mixed_4b": ("mixed", 192, 96, 208, 16, 48, 64),
    "Mixed_4c": ("mixed", 160, 112, 224, 24, 64, 64),
    "Mixed_4d": ("mixed", 128, 128, 256, 24, 64, 64),
    "Mixed_4e": ("mixed", 112, 144, 288, 32, 64, 64),
    "Mixed_4f": ("mixed", 256, 160, 320, 32, 128, 128),
    "MaxPool3d_5a_2x2": ("pool", (2, 2, 2), (2, 2, 2)),
    "Mixed_5b": ("mixed", 256, 160, 320, 32, 128, 128),
    "Mixed_5c": ("mixed", 384, 192, 384, 48, 128, 128),
}
ENDPOINTS = tuple(STAGES)


def same_padding(size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> list[tuple[int, int]]:
    """(front, behind) of every axis by TensorFlow's "same" rule, so that the output has ceil(size / stride) places.

    The sum depends on the input size, and the odd cell goes behind: neither can be written as a fixed `padding`.
    """
    pairs = []
    for n, k, s in zip(size, kernel, stride, strict=True):
        total = max(k - (n % s or s), 0)
        pairs.append((total // 2, total - total // 2))
    return pairs


def _pad(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
    """Pads with zeros what is not the same on both sides; returns the rest as the `padding` of the operation."""
    pairs = same_padding(x.shape[2:], kernel, stride)
    if all(front == behind for front, behind in pairs):
        return x, tuple(front for front, _ in pairs)
    return F.pad(x, [cells for pair in reversed(pairs) for cells in pair]), (0, 0, 0)


class Unit(nn.Module):
    """Convolution, batch normalisation, ReLU; or, with `bias`, a plain convolution (the logits)."""

    def __init__(self, in_channels: int, channels: int, kernel: int = 1, stride: int = 1, bias: bool = False) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(in_channels, channels, kernel, stride, bias=bias)
        self.bn = None if bias else nn.BatchNorm3d(channels, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv3d
        x, padding = _pad(x, conv.kernel_size, conv.stride)
        x = F.conv3d(x, conv.weight, conv.bias, conv.stride, padding)
        return x if self.bn is None else F.relu(self.bn(x), inplace=True)


class MaxPool(nn.Module):
    """Max pool with "same" padding. The inputs are never negative, so zeros and -inf at the border are the same."""

    def __init__(self, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__()
        self.kernel, self.stride = tuple(kernel), tuple(stride)

    def forward(self, x: Tensor) -> Tensor:
        x, padding = _pad(x, self.kernel, self.stride)
        return F.max_pool3d(x, self.kernel, self.stride, padding)


class Mixed(nn.Module):
    """Inception block: 1x1x1 | 1x1x1 -> 3x3x3 | 1x1x1 -> 3x3x3 | max pool -> 1x1x1, joined along the channels."""

    def __init__(self, in_channels: int, b0: int, b1a: int, b1b: int, b2a: int, b2b: int, b3b: int) -> None:
        super().__init__()
        self.b0 = Unit(in_channels, b0)
        self.b1a = Unit(in_channels, b1a)
        self.b1b = Unit(b1a, b1b, 3)
        self.b2a = Unit(in_channels, b2a)
        self.b2b = Unit(b2a, b2b, 3)
        self.b3a = MaxPool((3, 3, 3), (1, 1, 1))
        self.b3b = Unit(in_channels, b3b)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], dim=1)


def scaled(channels: int, width: float) -> int:
    """`channels * width`, rounded to a multiple of 8, at least 8."""
    return max(8, round(channels * width / 8) * 8)


class I3D(nn.Module):
    """Inception-v1 I3D.

    Args:
        num_classes: outputs of `forward`.
        width: scales every channel count; the published network has 1.0 and 1024 features.
        pool: kernel of the last average pool (stride 1, no padding) in places of the last feature map, which has
            ceil(T / 8) x ceil(H / 32) x ceil(W / 32) of them; None averages over all.
        in_channels: 3 for RGB, 2 for optical flow.
        dropout: before the logits, in training only.
        differences: the network looks at the size of the change from each frame to the next, |x[t + 1] - x[t]| per
            channel: what stands still is left out, and a bright thing moves as a dark one does (after the RGB
            difference of Temporal Segment Networks, Wang et al., 2016). The clip given is the same.

    For inference on a CPU that multiplies bfloat16, `memory_format=torch.channels_last_3d` (network and clips) with
    autocast is the fastest; gradients need float32 there.

    Shapes:
        clip:     [B, in_channels, T, H, W] float in [-1, 1], RGB
        features: [B, A, T', H', W'], A = `feature_dim`; averages of ReLU outputs, therefore never negative
    """

    def __init__(
        self,
        num_classes: int = 400,
        width: float = 1.0,
        pool: Sequence[int] | None = (2, 7, 7),
        in_channels: int = 3,
        dropout: float = 0.5,
        differences: bool = False,
    ) -> None:
        super().__init__()
        if pool is not None and (len(pool) != 3 or min(pool) < 1):
            raise ValueError(f"pool is {pool}; give three positive lengths (time, height, width), or None for all")
        self.pool = None if pool is None else tuple(pool)
        self.differences = differences
        self.in_channels = channels = in_channels
        for name, (kind, *sizes) in STAGES.items():
            if kind == "pool":
                self.add_module(name, MaxPool(*sizes))
            elif kind == "unit":
                out = scaled(sizes[0], width)
                self.add_module(name, Unit(channels, out, *sizes[1:]))
                channels = out
            else:
                widths = [scaled(size, width) for size in sizes]
                self.add_module(name, Mixed(channels, *widths))
                channels = widths[0] + widths[2] + widths[4] + widths[5]
        self.feature_dim = channels
        self.dropout = nn.Dropout(dropout)
        self.logits = Unit(channels, num_classes, bias=True)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """He-normal convolutions: with PyTorch's default little of the input would be left behind so many ReLUs."""
        for module in self.modules():
            if isinstance(module, Unit):
                nn.init.kaiming_normal_(module.conv3d.weight, nonlinearity="relu" if module.bn else "linear")
                if module.bn is None:
                    nn.init.zeros_(module.conv3d.bias)

    def _maps(self, clip: Tensor) -> Iterator[tuple[str, Tensor]]:
        if clip.ndim != 5 or clip.shape[1] != self.in_channels:
            raise ValueError(f"a clip is [batch, {self.in_channels}, frames, height, width], not {list(clip.shape)}")
        x = clip.diff(dim=2).abs() if self.differences else clip
        for name in ENDPOINTS:
            x = getattr(self, name)(x)
            yield name, x

    def endpoints(self, clip: Tensor, names: Iterable[str] = ENDPOINTS) -> dict[str, Tensor]:
        """Feature maps by endpoint name; the network runs no further than the last one asked for.

        Raises:
            ValueError: a name that is not in `ENDPOINTS`.
        """
        wanted = set(names)
        if unknown := wanted.difference(ENDPOINTS):
            raise ValueError(f"unknown endpoints {sorted(unknown)}; known are {', '.join(ENDPOINTS)}")
        found: dict[str, Tensor] = {}
        for name, x in self._maps(clip):
            if name in wanted:
                found[name] = x
            if len(found) == len(wanted):
                break
        return found

    def features(self, clip: Tensor) -> Tensor:
        """clip [B, C, T, H, W] -> [B, A, T', H', W'], the pooled last map: one position for 16 frames at 224 px.

        Raises:
            ValueError: the last map is smaller than `pool`.
        """
        x = self.endpoints(clip, ENDPOINTS[-1:])[ENDPOINTS[-1]]
        if self.pool is None:
            return x.mean(dim=(2, 3, 4), keepdim=True)
        if any(n < k for n, k in zip(x.shape[2:], self.pool, strict=True)):
            raise ValueError(
                f"a clip of {list(clip.shape[2:])} (frames, height, width) leaves a map of {list(x.shape[2:])}, "
                f"smaller than the pool {list(self.pool)}; give longer or larger clips (at least 9 frames and 193 "
                "px for the published pool), or build the network with a smaller `pool`"
            )
        return F.avg_pool3d(x, self.pool, stride=1)

    def extract(self, clip: Tensor, statistics: str = "running") -> Tensor:
        """clip [B, C, T, H, W] -> action vectors [B, A]: the features at position (0, 0, 0).

        Args:
            statistics: "running" for the stored statistics of the batch normalisations (those of eval mode), "clip" for
                those of each single clip, which is what features made by a network left in training mode hold.
        """
        if statistics == "clip":
            with batch_statistics(self):
                return torch.cat([self.features(one)[:, :, 0, 0, 0] for one in clip.split(1)])
        if statistics != "running":
            raise ValueError(f"statistics is {statistics!r}; it must be 'running' or 'clip'")
        return self.features(clip)[:, :, 0, 0, 0]

    def forward(self, clip: Tensor) -> Tensor:
        """clip [B, C, T, H, W] -> logits [B, num_classes, T'], and H', W' where these are longer than 1."""
        logits = self.logits(self.dropout(self.features(clip)))
        # Twice the same axis, as published: a map two places high and one wide keeps both its axes.
        return logits.squeeze(3).squeeze(3)


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[nn.Module]:
    """Inside, batch normalisations use the statistics of the batch at hand and keep none; dropout stays as it is."""
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    before = [(layer.training, layer.track_running_stats) for layer in layers]
    try:
        for layer in layers:
            layer.training, layer.track_running_stats = True, False
        yield network
    finally:
        for layer, (training, tracking) in zip(layers, before, strict=True):
            layer.training, layer.track_running_stats = training, tracking
