"""What a retrieval method is made of, beside its backbone. The names are those of the trainer's flags."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

SHARED_SPACES = ("transformer", "linear")
TEMPORAL_PROMPTS = ("group2-2", "DGL")
STOP_OUTPUTS = (
    "global_prompt0",
    "average_global_prompt",
    "average_frame_cls_token",
    "average_global_prompt_and_frame_cls_token",
)
"""`--visual_output_type`: which projected tokens become the video's vector, as STOP computes them."""
READOUTS = ("auto", "global_prompt0", "frame_cls_mean", "average_frame_cls_token", "both")
"""`--video_readout` of TempMe-STOP."""
TRAINING_MODES = ("joint", "stop_only", "tempme_only")
COMPAT = ("repaired", "released")


@dataclass(frozen=True)
class MethodSettings:
    """Settings of all methods; each reads those that concern it. Defaults are the published ones for 12 frames.

    Raises:
        ValueError: an unknown choice, a number out of range, merge lists that do not fit one another or the frames.
    """

    max_frames: int = 12
    """T. It sizes the table of frame prompts and the frame positions, so a checkpoint fixes it."""

    sim_header: str = "meanP"
    """clip4clip only: meanP, seqLSTM, seqTransf, tightTransf."""
    cross_num_hidden_layers: int = 4

    shared_latent_space: str = "transformer"
    """How deep prompts are made: by one transformer block from a table, or by linear maps from a small one."""
    text_prompt_length: int = 8
    """Half before, half after the words."""
    local_each_frame_prompt_length: int = 4
    global_visual_prompt_length: int = 4
    unified_transformer_layers: int | None = None
    """Layers with prompts of their own. None: all of the deeper tower. Fewer than the text tower's blocks end the
    text tower there, as published."""
    temporal_prompt: str = "group2-2"
    """group2-2: STOP's pixel and inter-frame prompts; DGL: neither."""
    adapter: bool = True
    """The side branch that STOP calls lora."""
    adapter_width: int = 32
    regions: int = 6
    """Selected cells per frame."""
    pixel_prompt: bool = True
    """False leaves STOP's 3-D convolutions over pixels out (no cell is selected then)."""
    visual_output_type: str = "global_prompt0"
    compat: str = "repaired"
    """released: STOP's regions as a comb over the frame, its frame weights normalised over the batch, frame masks
    ignored, no gradient to the region scorer."""

    lora_dim: int = 8
    """Rank of the additions to both towers' attention; 0 for none."""
    tome_r: int = 2
    """Patches merged per layer inside a frame, before the first joining layer."""
    tome_propattn: bool = True
    """Merged tokens count in the attention by their size."""
    merge_layer: str | None = None
    """Joining layers, from 0, and with the next entry None for what suits frames and tower: 8-9-10 as published."""
    merge_frame_num: str | None = None
    """Neighbouring clips that become one, per joining layer: 2-2-3 as published."""
    merge_token_proportion: str = "30-10"
    """Percent of tokens merged across joined clips, and inside a clip from the first joining layer on."""
    frame_pos: bool = True

    training_mode: str = "joint"
    """unified only."""
    merge: bool | None = None
    """unified only: overrides what the mode says."""
    prompts: bool | None = None
    """unified only: overrides what the mode says."""
    video_readout: str = "auto"
    """unified only; auto: global_prompt0 (stop_only), frame_cls_mean (tempme_only), both (joint)."""

    def __post_init__(self):
        for name, known in (
            ("shared_latent_space", SHARED_SPACES), ("temporal_prompt", TEMPORAL_PROMPTS), ("compat", COMPAT),
            ("visual_output_type", STOP_OUTPUTS), ("training_mode", TRAINING_MODES), ("video_readout", READOUTS),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; known: {', '.join(known)}")
        at_least_one = ("max_frames", "local_each_frame_prompt_length", "global_visual_prompt_length", "regions")
        for name in (*at_least_one, "adapter_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if self.text_prompt_length < 2 or self.text_prompt_length % 2:
            raise ValueError(f"text_prompt_length is {self.text_prompt_length}; half goes before, half after the words")
        if self.lora_dim < 0 or self.tome_r < 0:
            raise ValueError(f"lora_dim {self.lora_dim} and tome_r {self.tome_r} must be 0 or more")

    @classmethod
    def of(cls, given: dict) -> MethodSettings:
        """Settings from a dictionary that may hold more than these (flags, the config of a checkpoint)."""
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in given.items() if name in known})

    def but(self, **changes) -> MethodSettings:
        """The same with some changed."""
        return replace(self, **changes)
