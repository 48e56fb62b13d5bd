from dataclasses import fields, replace

import pytest
import torch
from torch.nn.functional import normalize

from model.backbone.blocks import Block, Tokens
from model.backbone.clip import CLIP, CLIPConfig, small_config
from model.prompts import Prompt

TINY = CLIPConfig(
    embed_dim=24, resolution=32, patch=8, vision_width=32, vision_layers=2, vision_heads=2,
    text_width=48, text_layers=2, text_heads=3, context_length=12, vocab_size=60,
)  # fmt: skip


@pytest.fixture
def clip():
    torch.manual_seed(0)
    return CLIP(TINY).eval()


def pictures(count=3, size=32):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def texts():
    return torch.tensor([[58, 3, 4, 59, 0, 0], [58, 9, 9, 9, 9, 59]])


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_towers_equal_open_clips(activation):
    from open_clip.model import CLIP as OpenCLIP

    vision = {"layers": 2, "width": 64, "head_width": 32, "patch_size": 8, "image_size": 32}
    text = {"context_length": 12, "vocab_size": 60, "width": 48, "heads": 3, "layers": 2}
    torch.manual_seed(0)
    theirs = OpenCLIP(24, vision, text, quick_gelu=activation == "quick_gelu").eval()
    ours = CLIP.from_state_dict(theirs.state_dict(), activation, vision_heads=2, text_heads=3).eval()
    with torch.inference_mode():
        torch.testing.assert_close(ours.encode_image(pictures()), theirs.encode_image(pictures()), rtol=1e-5, atol=1e-5)
        full = torch.nn.functional.pad(texts(), (0, 6))  # open_clip takes whole rows only
        torch.testing.assert_close(ours.encode_text(texts()), theirs.encode_text(full), rtol=1e-5, atol=1e-5)


def test_three_dimensional_patch_layer_starts_as_the_flat_one(clip):
    deep = CLIP(CLIPConfig(**(TINY.__dict__ | {"linear_patch": "3d"}))).eval()
    missing, unexpected = deep.load_state_dict(clip.state_dict(), strict=False)
    assert missing == ["visual.conv2.weight"] and not unexpected
    deep.visual.inflate_patch_layer()
    frames = pictures(6)
    torch.testing.assert_close(deep.encode_image(frames, videos=2), clip.encode_image(frames))
    torch.nn.init.normal_(deep.visual.conv2.weight)
    two = deep.encode_image(frames, videos=2)
    torch.testing.assert_close(two[:3], deep.encode_image(frames[:3], videos=1))
    assert not torch.allclose(two, deep.encode_image(frames, videos=6))


def test_a_batch_gives_what_single_rows_give(clip):
    torch.testing.assert_close(clip.encode_image(pictures())[1:2], clip.encode_image(pictures()[1:2]))
    torch.testing.assert_close(clip.encode_text(texts())[:1], clip.encode_text(texts()[:1]))


def test_words_behind_the_end_token_change_nothing(clip):
    torch.testing.assert_close(clip.encode_text(texts())[:1], clip.encode_text(texts()[:1, :4]))


def test_configuration_survives_its_state_dict():
    small = small_config(vocab_size=50)
    for config in (TINY, small, small_config(vocab_size=50, stem=(8,), patch=16), replace(small, stem=(8, 8), patch=4)):
        heads = {"vision_heads": config.vision_heads, "text_heads": config.text_heads}
        again = CLIP.from_state_dict(CLIP(config).state_dict(), config.activation, **heads)
        assert again.config == config


def test_stem_has_the_grid_of_its_patch_and_does_not_mix_pictures():
    clip = CLIP(small_config(vocab_size=50, stem=(8, 16), patch=8)).eval()
    batch = pictures(2, 64)
    tokens = clip.image_tokens(batch)
    assert tokens.shape == (2, 1 + 8 * 8, 128)
    torch.testing.assert_close(tokens[:1], clip.image_tokens(batch[:1]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"activation": "relu"}, "quick_gelu"),
        ({"linear_patch": "4d"}, "2d, 3d"),
        ({"resolution": 36}, "divide the resolution"),
        ({"stem": (4, 4, 4, 4)}, "multiple of 16"),
        ({"stem": (4,), "linear_patch": "3d"}, "exclude"),
    ],
)
def test_impossible_sizes_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        CLIPConfig(**(TINY.__dict__ | change))


def test_wrong_weights_are_named(clip):
    tensors = clip.state_dict()
    with pytest.raises(ValueError, match=r"missing: \['ln_final.bias'\], unexpected: \['extra'\]"):
        CLIP.from_state_dict({k: v for k, v in tensors.items() if k != "ln_final.bias"} | {"extra": torch.ones(1)})
    with pytest.raises(ValueError, match="ResNet"):
        CLIP.from_state_dict({"visual.layer1.0.conv1.weight": torch.ones(1)})
    with pytest.raises(ValueError, match=r"reads \[N, 3, 32, 32\]"):
        clip.encode_image(pictures(1, 16))
    with pytest.raises(ValueError, match="do not divide"):
        clip.encode_image(pictures(3), videos=2)


def test_video_tokens_attend_as_two_separate_calls_do():
    torch.manual_seed(0)
    block = Block(16, 2, 32)
    frames, video = torch.randn(6, 5, 16), torch.randn(2, 3, 16)
    frame_bias, video_bias = torch.randn(6, 1, 1, 8), torch.randn(2, 1, 1, 18)
    got = block.attend_video(frames, video, frame_bias, video_bias)
    own = torch.cat([video.repeat_interleave(3, 0), frames], 1)
    everything = torch.cat([video, frames.reshape(2, 15, 16)], 1)
    expected_frames, keys = block.attend(frames, own, frame_bias)
    expected_video, _ = block.attend(video, everything, video_bias)
    for a, b in zip(got, (expected_frames, expected_video, keys[:, :, 3:]), strict=True):
        torch.testing.assert_close(a, b)


def test_attention_bias_and_causal_mask_add_up():
    torch.manual_seed(0)
    block = Block(16, 2, 32)
    x, bias = torch.randn(2, 5, 16), torch.randn(2, 1, 1, 5)
    mask = torch.full((5, 5), float("-inf")).triu(1)
    torch.testing.assert_close(block.attend(x, bias=bias, causal=True)[0], block.attend(x, bias=bias + mask)[0])
    torch.testing.assert_close(block.attend(x, causal=True)[0], block.attend(x, bias=mask)[0])


class Doubled(Prompt):
    """Every patch token twice, with size one half each: attention with log sizes cannot tell the difference."""

    def start(self, tokens: Tokens) -> Tokens:
        frames = torch.cat([tokens.frames, tokens.frames[:, 1:]], 1)
        size = torch.full(frames.shape[:2], 0.5)
        size[:, 0] = 1
        return tokens.replace(frames=frames, size=size)


class Halved(Prompt):
    """Undoes Doubled after the attention of block 0, where keys of both copies are equal."""

    def merge(self, layer: int, tokens: Tokens, keys: torch.Tensor) -> Tokens:
        if layer:
            return tokens
        count = (tokens.frames.shape[1] + 1) // 2
        torch.testing.assert_close(keys[:, :, 1:count], keys[:, :, count:])
        return tokens.replace(frames=tokens.frames[:, :count], size=None)


def test_sizes_weigh_tokens_and_merging_may_shorten_rows(clip):
    torch.testing.assert_close(clip.encode_image(pictures(), [Doubled()]), clip.encode_image(pictures()))
    torch.testing.assert_close(clip.image_tokens(pictures(), [Doubled(), Halved()]), clip.image_tokens(pictures()))


class VideoTokens(Prompt):
    def start(self, tokens: Tokens) -> Tokens:
        return tokens.replace(video=torch.ones(tokens.videos, 2, tokens.frames.shape[-1]))


def test_frames_of_one_video_meet_in_its_video_tokens_only(clip):
    frames = pictures(6)
    changed = frames.clone()
    changed[1] += 1
    before, after = (clip.encode_image(x, [VideoTokens()], videos=2) for x in (frames, changed))
    assert (before - after).abs().amax(1).gt(1e-6).tolist() == [True, True, True, False, False, False]


class Recorder(Prompt):
    def __init__(self):
        super().__init__()
        self.calls = []

    def start(self, tokens):
        self.calls.append("start")
        return tokens

    def before(self, layer, tokens):
        self.calls.append(f"before {layer}")
        return tokens

    def merge(self, layer, tokens, keys):
        self.calls.append(f"merge {layer}")
        return tokens

    def after(self, layer, tokens):
        self.calls.append(f"after {layer}")
        return tokens


def test_prompts_are_called_in_order_in_both_towers(clip):
    order = ["start", "before 0", "merge 0", "after 0", "before 1", "merge 1", "after 1"]
    for encode, given in ((clip.encode_image, pictures()), (clip.encode_text, texts())):
        recorder = Recorder()
        torch.testing.assert_close(encode(given, [recorder]), encode(given))
        assert recorder.calls == order


def test_side_branch_is_added(clip):
    block = clip.visual.transformer.resblocks[1]
    x = torch.randn(1, 4, 32)
    without = block.feed_forward(x)
    block.LoRA = torch.nn.Linear(32, 32)
    torch.testing.assert_close(block.feed_forward(x), without + block.LoRA(x))


def test_text_options_change_the_feature(clip):
    plain = clip.encode_text(texts())
    free = clip.encode_text(texts(), causal=False)
    assert not torch.allclose(plain, free)
    assert not torch.allclose(plain, clip.encode_text(texts(), final_norm=False))
    mask = torch.full((6, 6), float("-inf")).triu(1)
    torch.testing.assert_close(clip.encode_text(texts(), causal=False, bias=mask), plain)


def test_bfloat16_stays_close_and_every_parameter_gets_a_gradient():
    clip = CLIP(small_config(vocab_size=60))
    batch = pictures(2, 64)
    exact = normalize(clip.encode_image(batch), dim=-1)
    with torch.autocast("cpu", torch.bfloat16):
        rough = normalize(clip.encode_image(batch).float(), dim=-1)
    assert (exact * rough).sum(-1).min() > 0.999
    (clip.encode_image(batch).sum() + clip.encode_text(texts()).sum() * clip.logit_scale).backward()
    assert [name for name, p in clip.named_parameters() if p.grad is None] == []


class OneMoreWord(Prompt):
    """A token that only lives inside a layer, hidden from everybody by the bias."""

    def before(self, layer: int, tokens: Tokens) -> Tokens:
        extra = torch.ones(tokens.frames.shape[0], 1, tokens.frames.shape[-1])
        bias = torch.nn.functional.pad(tokens.bias, (0, 1), value=float("-inf"))
        return tokens.replace(frames=torch.cat([tokens.frames, extra], 1), bias=bias)

    def merge(self, layer: int, tokens: Tokens, keys: torch.Tensor) -> Tokens:
        assert keys.shape[2] == tokens.frames.shape[1]
        return tokens.replace(frames=tokens.frames[:, :-1], bias=tokens.bias[..., :-1])


def test_a_prompt_may_add_words_for_one_layer_and_extend_the_bias(clip):
    live = (texts() > 0).float()[:, None, None]
    plain = clip.encode_text(texts(), causal=False, bias=live)
    torch.testing.assert_close(clip.encode_text(texts(), [OneMoreWord()], causal=False, bias=live), plain)
    assert not torch.allclose(plain, clip.encode_text(texts(), causal=False))


def test_a_copy_of_tokens_keeps_every_field_that_is_not_changed():
    values = {field.name: object() for field in fields(Tokens)}
    for changed in values:
        copy, new = Tokens(**values).replace(**{changed: 7}), values | {changed: 7}
        assert all(getattr(copy, name) is value for name, value in new.items())
    with pytest.raises(TypeError, match="frame"):
        Tokens(**values).replace(frame=1)


def test_both_towers_compile_without_a_break(clip):
    for encode, given in ((clip.encode_image, pictures()), (clip.encode_text, texts())):
        compiled = torch.compile(encode, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(given), encode(given), rtol=1e-4, atol=1e-5)
