"""TempMe: clips that are joined and shortened on their way through the vision tower (Shen et al., TempMe, 2025).

Shape letters: B videos, T frames, K clips per video, c class tokens of a clip, n patches of a clip, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.backbone.blocks import Tokens
from model.prompts.base import Prompt
from model.prompts.token_matching import match

POSITION = "TVPt_Video_Positional_embedding"


@dataclass(frozen=True)
class MergePlan:
    """How many clips and tokens there are after each layer.

    Attributes:
        frames: T.
        joins: {layer: neighbouring clips that become one}, in the order of layers.
        inside_frame: tokens merged per layer before the first joining layer.
        across, inside: percent of a clip's tokens merged when clips are joined, and afterwards per layer.
        size_bias: whether merged tokens count in the attention by their size.
        positions: whether clips get a learnt position before they are merged.

    Raises:
        ValueError: factors that do not divide the clips, or percentages out of range.
    """

    frames: int
    joins: Mapping[int, int]
    inside_frame: int = 2
    across: int = 30
    inside: int = 10
    size_bias: bool = True
    positions: bool = True

    def __post_init__(self):
        clips = self.frames
        for layer, factor in self.joins.items():
            if factor < 1 or clips % factor:
                raise ValueError(
                    f"merge_frame_num: {clips} clips cannot be joined {factor} by {factor} in layer {layer}; the "
                    f"factors {'-'.join(map(str, self.joins.values()))} must divide {self.frames} frames one by one"
                )
            clips //= factor
        if not (0 <= self.across <= 100 and 0 <= self.inside <= 100 and self.inside_frame >= 0):
            raise ValueError(
                f"merge_token_proportion {self.across}-{self.inside} and tome_r {self.inside_frame}: percentages lie "
                "between 0 and 100, counts are 0 or more"
            )

    @classmethod
    def parse(
        cls, frames: int, layers: int, merge_layer: str | None, merge_frame_num: str | None, proportion: str, **more
    ):
        """A plan from lists such as 8-9-10, 2-2-3 and 30-10; None for the lists that suit the frames and the tower.

        Raises:
            ValueError: lists that do not fit one another, the frames or the tower.
        """
        if merge_layer is None and merge_frame_num is None:
            joins = suitable_joins(frames, layers)
        else:
            places, factors = _numbers("merge_layer", merge_layer), _numbers("merge_frame_num", merge_frame_num)
            if len(places) != len(factors) or sorted(set(places)) != places:
                raise ValueError(
                    f"merge_layer {merge_layer} must rise and be as long as merge_frame_num {merge_frame_num}"
                )
            if places and not 0 <= places[0] <= places[-1] < layers:
                raise ValueError(f"merge_layer {merge_layer}: the tower has the layers 0 to {layers - 1}")
            joins = dict(zip(places, factors, strict=True))
        shares = _numbers("merge_token_proportion", proportion)
        if len(shares) != 2:
            raise ValueError(f"merge_token_proportion {proportion}: two percentages, such as 30-10")
        return cls(frames, joins, across=shares[0], inside=shares[1], **more)

    def across_count(self, factor: int, classes: int, tokens: int) -> int:
        """Tokens merged when `factor` clips of `tokens` tokens, `classes` of them class tokens, become one."""
        return min(factor * (tokens - classes) // 2, factor * tokens * self.across // 100)

    def inside_count(self, layer: int, classes: int, tokens: int) -> int:
        """Tokens merged inside a clip after the attention of a layer."""
        early = not self.joins or layer < min(self.joins)
        wanted = self.inside_frame if early else tokens * self.inside // 100
        return min((tokens - classes) // 2, wanted)

    def position_rows(self) -> dict[int, int]:
        """{joining layer: clips before it}, empty without positions."""
        rows, clips = {}, self.frames
        for layer, factor in self.joins.items():
            rows[layer] = clips
            clips //= factor
        return rows if self.positions else {}

    def counts(self, layers: int, patches: int) -> list[tuple[int, int, int]]:
        """(clips, class tokens per clip, patches per clip) after every layer."""
        clips, classes, left, found = self.frames, 1, patches, []
        for layer in range(layers):
            if factor := self.joins.get(layer):
                removed = self.across_count(factor, classes, classes + left)
                clips, classes, left = clips // factor, classes * factor, left * factor - removed
            left -= self.inside_count(layer, classes, classes + left)
            found.append((clips, classes, left))
        return found


class TokenMerging(Prompt):
    """Joins clips before some blocks and merges patches; class tokens and prompts are protected.

    Positions are added where tokens are merged across clips, as in the published code: clips that are joined without a
    reduction get none. A video of a single frame is never joined.

    Args:
        plan: what happens where.
        positions: {joining layer: [1, K, 1, D]} with K clips before the layer, or nothing.
    """

    def __init__(self, plan: MergePlan, positions: Mapping[int, Tensor]):
        super().__init__()
        self.plan, self.positions = plan, positions

    def before(self, layer: int, tokens: Tokens) -> Tokens:
        factor = self.plan.joins.get(layer)
        single = tokens.rows * tokens.classes == 1
        if factor is None or single:
            return tokens
        if tokens.rows % factor:
            raise ValueError(
                f"{tokens.rows} clips cannot be joined {factor} by {factor}; give {self.plan.frames} frames"
            )
        classes, prompts = tokens.classes, tokens.prompts
        patches = tokens.frames.shape[1] - classes - prompts
        count = self.plan.across_count(factor, classes, classes + patches)
        frames = tokens.frames
        parts = [_join(part, factor) for part in frames.split([classes, prompts, patches], 1)]
        size = frames.new_ones(frames.shape[:2], dtype=torch.float32) if tokens.size is None else tokens.size
        own_size = _join(size[:, classes + prompts :, None], factor)[..., 0]
        if count:
            matching = match(parts[2].detach(), count, classes * factor % 2 == 1)
            if layer in self.positions:
                position = self._position(layer, tokens)
                parts[0] = parts[0] + position.repeat_interleave(classes, 1)
                parts[2] = parts[2] + position.repeat_interleave(patches, 1)
            parts[2], own_size = matching.merge(parts[2], own_size)
        merged = torch.cat(parts, 1)
        size = own_size.new_ones(merged.shape[:2])
        size[:, -own_size.shape[1] :] = own_size
        return tokens.replace(
            frames=merged, size=size, size_bias=self.plan.size_bias, classes=classes * factor, prompts=prompts * factor
        )

    def merge(self, layer: int, tokens: Tokens, keys: Tensor) -> Tokens:
        protected = tokens.classes + tokens.prompts
        patches = tokens.frames.shape[1] - protected
        count = self.plan.inside_count(layer, tokens.classes, tokens.classes + patches)
        if not count:
            return tokens
        matching = match(keys[:, :, protected:].detach().mean(1), count, tokens.classes % 2 == 1)
        size = (
            tokens.frames.new_ones(tokens.frames.shape[:2], dtype=torch.float32) if tokens.size is None else tokens.size
        )
        merged, own_size = matching.merge(tokens.frames[:, protected:], size[:, protected:])
        return tokens.replace(
            frames=torch.cat([tokens.frames[:, :protected], merged], 1),
            size=torch.cat([size[:, :protected], own_size], 1),
            size_bias=self.plan.size_bias,
        )

    def _position(self, layer: int, tokens: Tokens) -> Tensor:
        """[B * K / factor, factor, D]: the position of each clip that is joined."""
        position, factor = self.positions[layer], self.plan.joins[layer]
        if position.shape[1] != tokens.rows:
            raise ValueError(
                f"layer {layer} has positions for {position.shape[1]} clips and sees {tokens.rows}; give "
                f"{self.plan.frames} frames"
            )
        position = position.to(tokens.frames.dtype).reshape(-1, factor, position.shape[-1])
        return position.repeat(tokens.videos, 1, 1)


def add_positions(blocks: Sequence[nn.Module], plan: MergePlan, width: int) -> None:
    """Gives joining blocks their clip positions, which start at zero, under TempMe's name."""
    for layer, clips in plan.position_rows().items():
        blocks[layer].register_parameter(POSITION, nn.Parameter(torch.zeros(1, clips, 1, width)))


def suitable_joins(frames: int, layers: int) -> dict[int, int]:
    """Up to three late layers that join all frames in the end; 2, 2, 3 in layers 8, 9, 10 for 12 frames and 12 layers.

    At least the last block attends over the whole video.
    """
    primes, rest, prime = [], frames, 2
    while rest > 1:
        while rest % prime == 0:
            primes.append(prime)
            rest //= prime
        prime += 1
    groups = min(3, len(primes), max(1, layers - 1))
    if not groups:
        return {}
    factors = [1] * groups
    for prime in reversed(primes):
        factors[factors.index(min(factors))] *= prime
    last = layers - 2 if layers - 2 >= groups else layers - 1
    return dict(zip(range(last - groups + 1, last + 1), sorted(factors), strict=True))


def _join(part: Tensor, factor: int) -> Tensor:
    """[B * K, k, D] to [B * K / factor, factor * k, D], clip after clip."""
    return part.unflatten(0, (-1, factor)).flatten(1, 2)


def _numbers(name: str, text: str | None) -> list[int]:
    try:
        return [int(number) for number in (text or "").split("-") if number]
    except ValueError:
        raise ValueError(f"{name} is {text!r}; write whole numbers with dashes between them, such as 8-9-10") from None
