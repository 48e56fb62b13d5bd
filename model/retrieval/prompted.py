"""CLIP with prompts, low-rank additions and token merging, each of which may be absent: STOP, TempMe and both together.

Shape letters: B videos, A texts, T frames, R pixels, E embedding width, D vision width, P prompts per frame.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from model.backbone.blocks import Tokens, at_least_float32
from model.backbone.clip import CLIP, CLIPConfig
from model.prompts.adapter import add_adapters
from model.prompts.base import Prompt
from model.prompts.generated import NEW, DeepPrompts, start_prompts
from model.prompts.insertion import TextPrompts, VideoPrompts
from model.prompts.lora import add_lora
from model.prompts.spatial_temporal import Regions, SpatialTemporalPrompt
from model.prompts.token_merging import POSITION, MergePlan, TokenMerging, add_positions
from model.retrieval.clip4clip import CLIP4Clip
from model.retrieval.groups import in_groups
from model.retrieval.readout import READ, WITHOUT_PROMPTS, project_tokens
from model.retrieval.settings import MethodSettings

NEW_PARTS = (
    *NEW,
    "prefix_text_prompt_proj_layer",
    "postfix_text_prompt_proj_layer",
    "TemporalPrompt",
    "LoRA",
    POSITION,
)
_OF_PIXELS = tuple(f"clip.visual.TemporalPrompt.{part}." for part in ("Conv", "MLP", "Cal_Net"))


class PromptedRetrieval(CLIP4Clip):
    """One tower pass per video, in which prompts see the whole video and clips may be joined and merged.

    Parameters have the names of STOP's and TempMe's checkpoints, all under `clip.`.

    Args:
        clip: the backbone; it gets the new parameters and must not be shared with another method.
        settings: sizes and variants.
        prompts: whether STOP's prompts and adapters are computed.
        merge: whether clips are joined and tokens merged.
        readout: a name of `readout.READ`.
        every_part: hold the parameters of prompts and of merging also where they are not computed, so that checkpoints
            of any mode fit all modes.

    Raises:
        ValueError: settings that do not fit the tower, or a read-out of prompts without prompts.
    """

    def __init__(
        self, clip: CLIP, settings: MethodSettings, prompts: bool, merge: bool, readout: str, every_part: bool = False
    ):
        super().__init__(clip)
        config = clip.config
        if not prompts and readout not in WITHOUT_PROMPTS:
            raise ValueError(f"the read-out {readout} needs prompts; without them: {', '.join(WITHOUT_PROMPTS)}")
        self.settings, self.readout = settings, readout
        self.released = settings.compat == "released"
        self.prompts, self.merge = prompts, merge
        # A plan is made only where it is needed: its defaults need not fit a tower that merges nothing.
        self.plan = self._make_plan(config) if merge or every_part else None
        self.generator: DeepPrompts | None = None
        if prompts or every_part:
            self._add_prompts(clip, settings, prompts)
        for tower in (clip.visual.transformer, clip.transformer):
            add_lora(tower, settings.lora_dim)
        if self.plan is not None:
            add_positions(clip.visual.transformer.resblocks, self.plan, config.vision_width)

    def _make_plan(self, config: CLIPConfig) -> MergePlan:
        chosen = self.settings
        return MergePlan.parse(
            chosen.max_frames, config.vision_layers, chosen.merge_layer, chosen.merge_frame_num,
            chosen.merge_token_proportion, inside_frame=chosen.tome_r, size_bias=chosen.tome_propattn,
            positions=chosen.frame_pos,
        )  # fmt: skip

    def _add_prompts(self, clip: CLIP, chosen: MethodSettings, active: bool) -> None:
        config = clip.config
        layers = chosen.unified_transformer_layers or max(config.vision_layers, config.text_layers)
        self.generator = DeepPrompts(
            clip, chosen.shared_latent_space, layers, chosen.max_frames, chosen.local_each_frame_prompt_length,
            chosen.text_prompt_length,
        )  # fmt: skip
        shape = 1, chosen.global_visual_prompt_length, config.vision_width
        clip.visual.prompt_embeddings = nn.Parameter(torch.empty(shape))
        start_prompts(clip.visual.prompt_embeddings, config.patch, config.vision_width)
        if chosen.temporal_prompt == "group2-2":
            regions = Regions(chosen.regions, self.released)
            clip.visual.TemporalPrompt = SpatialTemporalPrompt(
                config.vision_width, config.vision_heads, config.grid, chosen.local_each_frame_prompt_length, regions
            )
        if chosen.adapter:
            for tower in (clip.visual.transformer, clip.transformer):
                add_adapters(tower, chosen.adapter_width, active)

    @property
    def config(self) -> CLIPConfig:
        """Sizes of the backbone."""
        return self.clip.config

    @property
    def dynamic(self) -> SpatialTemporalPrompt | None:
        """STOP's pixel and inter-frame prompts, None where they are not computed."""
        return getattr(self.clip.visual, "TemporalPrompt", None) if self.prompts else None

    def encode_text(self, ids: Tensor, chunk: int = 0) -> Tensor:
        """Text features [A, E] of ids [A, L], not normalised; `chunk` as in `encode_video`."""
        return in_groups(self, self._encode_text, chunk, ids)

    def _encode_text(self, ids: Tensor) -> Tensor:
        if not self.prompts:
            return self.clip.encode_text(ids)
        prompts, _ = self.generator()
        # The prompts behind the words change no feature; the released code carries them along.
        return self.clip.encode_text(ids, [TextPrompts(prompts, trailing=self.released)], depth=len(prompts))

    def encode_video(self, frames: Tensor, mask: Tensor | None = None, chunk: int = 0) -> Tensor:
        """One vector per video, not normalised.

        Frames that the mask hides have no influence; where tokens are merged, those present are repeated instead, so
        that there are T.

        Args:
            chunk: as in `CLIP4Clip.encode_video`.

        Shapes:
            frames: [B, T, 3, R, R]; mask: [B, T]; returns [B, 1, E]
        """
        if mask is None:
            mask = frames.new_ones(frames.shape[:2], dtype=torch.bool)
        return in_groups(self, self._encode_video, chunk, frames, mask)

    def _encode_video(self, frames: Tensor, mask: Tensor) -> Tensor:
        tokens = self.video_tokens(frames, mask)
        read = READ[self.readout](*project_tokens(self.clip.visual, tokens), tokens.present)
        return read[:, None]

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Features of pictures, each as a video of one frame (which is never joined with another): [N, E].

        This is the picture's place in the space of the texts, whatever the read-out is made of, and does not depend on
        what else is in the batch.

        Shapes:
            pixels: [N, 3, R, R] normalised
        """
        return self.encode_video(pixels[:, None])[:, 0]

    def video_tokens(self, frames: Tensor, mask: Tensor | None = None, deep: Tensor | None = None) -> Tokens:
        """All tokens after the last block, not projected; `present` says which frames counted.

        Args:
            deep: frame prompts [K, B or 1, T, P, D] in place of the generated ones (those between frames included).
        """
        videos, count = frames.shape[:2]
        if count > self.settings.max_frames:
            raise ValueError(f"{count} frames; this model has prompts and positions for {self.settings.max_frames}")
        frames, mask = self._present(frames, mask)
        selected, dynamic = None, self.dynamic if deep is None else None
        if dynamic is not None and self.settings.pixel_prompt:
            frames, selected = dynamic.pixels(frames, mask)
        tower = self.clip.visual
        tokens = tower.embed(frames.flatten(0, 1), videos).replace(present=mask)
        prompts: list[Prompt] = []
        if self.prompts:
            if deep is None:
                deep = self.generator()[1][:, None, :count]
            if dynamic is not None:
                patches = tokens.frames[:, 1:].unflatten(0, (videos, count))
                deep = deep + dynamic.between_frames(patches, selected, mask)
            prompts.append(VideoPrompts(deep, tower.prompt_embeddings))
        if self.merge:
            prompts.append(TokenMerging(self.plan, self._positions()))
        return tower.transformer(tokens, prompts)

    def _present(self, frames: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Frames without those that the mask hides, and the mask where some are hidden after all."""
        if mask is None or (self.released and not self.merge):
            return frames, None
        mask = mask.bool()
        if bool(mask.all()):
            return frames, None
        if self.merge:
            return repeat_present(frames, mask), None
        return frames * mask[..., None, None, None].to(frames.dtype), mask

    def _positions(self) -> dict[int, Tensor]:
        blocks = self.clip.visual.transformer.resblocks
        return {layer: getattr(blocks[layer], POSITION) for layer in self.plan.position_rows()}

    def pool(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Unit vectors [B, E] of what `encode_video` gave, [B, 1, E]; the mask is not read."""
        return normalize(at_least_float32(frames[:, 0]), dim=-1)

    def is_new(self, name: str) -> bool:
        """Whether a parameter belongs to the method, not to CLIP."""
        return any(part in name for part in NEW_PARTS)

    def is_computed(self, name: str) -> bool:
        """Whether a parameter takes part in the features; one that does not has no gradient."""
        if POSITION in name:
            return self.merge and self._block(name) in self._used_positions()
        if "TVPt_LoRA" not in name and self.is_new(name):
            return self.prompts and self._computes_prompt(name)
        if name == "clip.visual.conv1.weight":
            return self.config.linear_patch == "2d"
        return not self._beyond_text(name)

    def _computes_prompt(self, name: str) -> bool:
        if not self.settings.pixel_prompt and name.startswith(_OF_PIXELS):
            return False
        if self.released and name.startswith("clip.visual.TemporalPrompt.Cal_Net."):
            return False
        # Behind the end token: without effect, and left out of the computation unless released.
        return "postfix_text" not in name and not self._beyond_text(name)

    def _beyond_text(self, name: str) -> bool:
        """Blocks of the text tower after the last layer with prompts are not run."""
        depth = self.generator.layers if self.prompts else self.config.text_layers
        return name.startswith("clip.transformer.resblocks.") and self._block(name) >= depth

    @staticmethod
    def _block(name: str) -> int:
        return int(name.partition("resblocks.")[2].partition(".")[0])

    def _used_positions(self) -> set[int]:
        counts = self.plan.counts(self.config.vision_layers, self.config.grid**2)
        used = set()
        for layer in self.plan.position_rows():
            _, classes, patches = counts[layer - 1] if layer else (0, 1, self.config.grid**2)
            if self.plan.across_count(self.plan.joins[layer], classes, classes + patches):
                used.add(layer)
        return used


def repeat_present(frames: Tensor, mask: Tensor) -> Tensor:
    """The frames that the mask shows, evenly repeated to as many as there are places; [B, T, ...]."""
    count, total = mask.sum(1, keepdim=True), mask.shape[1]
    order = torch.argsort(~mask, dim=1, stable=True)
    step = torch.arange(total, device=mask.device)[None] * count // total
    place = order.gather(1, step.clamp(min=0))
    return frames[torch.arange(len(frames), device=frames.device)[:, None], place]
