"""The six methods: each a short declaration over the frozen backbone and the prompts (recognition reference, 7).

| method | prompts | text |
|---|---|---|
| video_coop | none in the vision tower | context |
| dual_coop | visual tokens in the first block | context |
| vidop | visual tokens in the first block | bare names, or a handcrafted sentence |
| vilt | visual tokens, layer prompts of both towers and maps between them | context |
| vita | visual tokens in every block, summary and frame tokens | context |
| stt | those of vita | context, and the summary tokens of every view |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from model.backbone.clip import CLIP, CLIPConfig
from model.prompts import (
    FrameTokens,
    LayerPrompts,
    Prompt,
    PromptMap,
    SummaryToken,
    SummaryToText,
    TextContext,
    VisualContext,
)
from model.recognition.recogniser import Recogniser
from model.recognition.settings import COMMON, Settings, make_settings
from model.recognition.transfers import coupled_layers, default_lists, read_transfers


@dataclass(frozen=True)
class Parts:
    """Prompts of both towers, in the order in which they act."""

    text: list[Prompt]
    vision: list[Prompt] = field(default_factory=list)


@dataclass(frozen=True)
class Method:
    """One published method.

    Attributes:
        title, source: for readers.
        parts: prompts for a backbone and settings.
        defaults: settings in which it differs from `Settings`.
        own_keys: settings that it reads beside those that all methods read.
        unit_frames: frame features have unit length before they are pooled.
        recorded_unit: whether (video, text) features have unit length on the recorded path.
        recorded_live_bias: on the recorded text path live tokens get +1 and the final norm is kept; else neither.
        text_per_view: every view has text features of its own, nothing can be cached.
        coupled: on the recorded path both towers stop with the shallower one.
    """

    title: str
    source: str
    parts: Callable[[CLIPConfig, Settings], Parts]
    defaults: Mapping[str, Any]
    own_keys: tuple[str, ...] = ()
    unit_frames: bool = False
    recorded_unit: tuple[bool, bool] = (True, True)
    recorded_live_bias: bool = False
    text_per_view: bool = False
    coupled: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of all settings that it reads."""
        return (*COMMON, *self.own_keys)

    def settings(self, given: Mapping[str, Any] | None = None) -> Settings:
        """Its settings, published names with `-` or `_`; raises ValueError on what it does not read."""
        return make_settings(given or {}, self.defaults, self.keys, self.title)


def text_context(clip: CLIPConfig, settings: Settings) -> TextContext:
    return TextContext(settings.ctx_len, clip.text_width, settings.std_init)


def visual_context(clip: CLIPConfig, settings: Settings, span: str, last: int = 0) -> VisualContext:
    return VisualContext(settings.ctx_len_video, clip.vision_width, span, settings.std_init, last)


def video_coop(clip: CLIPConfig, settings: Settings) -> Parts:
    return Parts([text_context(clip, settings)])


def dual_coop(clip: CLIPConfig, settings: Settings) -> Parts:
    span = "all" if settings.keep_vision_prompts_throughout else "first"
    return Parts([text_context(clip, settings)], [visual_context(clip, settings, span)])


def vilt(clip: CLIPConfig, settings: Settings) -> Parts:
    layers = min(clip.text_layers, clip.vision_layers)
    default_text, default_vision = default_lists(layers)
    text, vision = read_transfers(
        default_text if settings.modality_transfer_text is None else settings.modality_transfer_text,
        default_vision if settings.modality_transfer_vision is None else settings.modality_transfer_vision,
        clip.text_layers,
        clip.vision_layers,
    )
    own_text = LayerPrompts("text", text.owners, text.own, settings.num_tokens_per_layer_text, clip.text_width)
    own_vision = LayerPrompts(
        "vision", vision.owners, vision.own, settings.num_tokens_per_layer_vision, clip.vision_width
    )
    to_vision = PromptMap(own_text, "text_to_vision", vision.maps, vision.mapped, clip.text_width, clip.vision_width)
    to_text = PromptMap(own_vision, "vision_to_text", text.maps, text.mapped, clip.vision_width, clip.text_width)
    # The visual tokens stay until the first layer that cuts prompts off.
    last = next(iter(coupled_layers(text, vision)), clip.vision_layers)
    visual = visual_context(clip, settings, "first", last)
    return Parts([text_context(clip, settings), own_text, to_text], [visual, own_vision, to_vision])


def vita(clip: CLIPConfig, settings: Settings, conditioned: bool | None = None) -> Parts:
    conditioned = settings.has_discriminative_conditioning if conditioned is None else conditioned
    heads = settings.num_heads_summary_attention or clip.vision_heads
    across_frames = settings.summary_attention == "video"
    width = clip.vision_width
    frames = FrameTokens(settings.num_frames, settings.num_frame_tokens, width, conditioned, settings.std_init)
    summary = SummaryToken(clip.vision_layers, width, heads, across_frames)
    return Parts([text_context(clip, settings)], [frames, summary, visual_context(clip, settings, "every")])


def stt(clip: CLIPConfig, settings: Settings) -> Parts:
    parts = vita(clip, settings, conditioned=True)
    depth = min(clip.text_layers, clip.vision_layers)
    layers = settings.layers_with_summary_to_text
    layers = range(max(1, depth * 10 // 12)) if layers is None else layers
    wrong = [layer for layer in layers if not 0 <= layer < depth]
    if wrong:
        raise ValueError(f"layers_with_summary_to_text has {wrong}; the towers share layers 0 to {depth - 1}")
    to_text = SummaryToText(layers, settings.num_frames, clip.vision_width, clip.text_width)
    return Parts([*parts.text, to_text], parts.vision)


_VISUAL = ("ctx_len_video",)
_TRANSFERS = (
    "modality_transfer_text", "modality_transfer_vision", "num_tokens_per_layer_text", "num_tokens_per_layer_vision",
)  # fmt: skip
_SUMMARY = ("ctx_len_video", "summary_attention", "num_frames", "num_frame_tokens", "num_heads_summary_attention")

METHODS: dict[str, Method] = {
    "video_coop": Method(
        "Video-CoOp", "CoOp (Zhou et al., IJCV 2022), frame by frame", video_coop,
        {"temporal_pooling": "attention"}, unit_frames=True,
    ),
    "dual_coop": Method(
        "Dual-CoOp", "CoOp and shallow visual prompts (Jia et al., ECCV 2022)", dual_coop,
        {"temporal_pooling": "attention"}, (*_VISUAL, "keep_vision_prompts_throughout"),
    ),
    "vidop": Method(
        "ViDOP", "visual prompts alone", dual_coop,
        {"temporal_pooling": "attention", "ctx_len": 0},
        (*_VISUAL, "keep_vision_prompts_throughout", "use_handcrafted_features"),
    ),
    "vilt": Method(
        "ViLT", "ViLT-CLIP (Wang et al., AAAI 2024)", vilt,
        {"regularisation_strength": 0.1}, (*_VISUAL, *_TRANSFERS),
        recorded_unit=(False, False), recorded_live_bias=True, coupled=True,
    ),
    "vita": Method(
        "ViTA", "Vita-CLIP (Wasim et al., CVPR 2023)", vita, {}, (*_SUMMARY, "has_discriminative_conditioning"),
    ),
    "stt": Method(
        "STT", "Vita-CLIP with texts that see the video", stt, {},
        (*_SUMMARY, "layers_with_summary_to_text", "texts_per_chunk"),
        recorded_unit=(True, False), recorded_live_bias=True, text_per_view=True, coupled=True,
    ),
}  # fmt: skip


def build(name: str, clip: CLIP, settings: Settings | Mapping[str, Any] | None = None) -> Recogniser:
    """A recogniser over a backbone, which it freezes.

    Args:
        name: key of METHODS.
        settings: what differs from the method's defaults (published names, `-` or `_`), or complete settings.

    Raises:
        ValueError: unknown method or setting, settings that the backbone's towers cannot take.
    """
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; known: {', '.join(METHODS)}")
    method = METHODS[name]
    if not isinstance(settings, Settings):
        settings = method.settings(settings)
    parts = method.parts(clip.config, settings)
    return Recogniser(clip, method, settings, parts.text, parts.vision)
