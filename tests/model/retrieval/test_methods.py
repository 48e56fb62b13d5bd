"""Every retrieval method through the one interface: shapes, equalities between them, padding, batches, flags."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from model.backbone.clip import CLIP, CLIPConfig, small_config
from model.prompts.lora import fold_lora
from model.prompts.spatial_temporal import direct_convolution
from model.retrieval.methods import METHODS, build_method
from model.retrieval.prompted import repeat_present
from model.retrieval.settings import MethodSettings

TINY = CLIPConfig(24, 32, 8, 64, 3, 2, 32, 2, 2, context_length=12, vocab_size=60)
FRAMES = 6
TOWERS = {
    "ViT-B/32": CLIPConfig(512, 224, 32, 768, 2, 12, 512, 1, 8, vocab_size=60),
    "ViT-B/16": CLIPConfig(512, 224, 16, 768, 2, 12, 512, 1, 8, vocab_size=60),
    "ViT-L/14": CLIPConfig(768, 224, 14, 1024, 2, 16, 768, 1, 12, vocab_size=60),
    "small": small_config(vocab_size=60),
}


def network(method, config=TINY, seed=0, **settings):
    """A network in which no new parameter is zero, so that each has an effect."""
    torch.manual_seed(seed)
    model = build_method(method, CLIP(config), {"max_frames": FRAMES} | settings).eval()
    for name, parameter in model.named_parameters():
        if model.is_new(name) and not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def clips(videos=2, frames=FRAMES, edge=32):
    return torch.randn(videos, frames, 3, edge, edge, generator=torch.Generator().manual_seed(1))


def texts(count=2):
    ids = torch.randint(1, 59, (count, 8), generator=torch.Generator().manual_seed(2))
    ids[:, 0], ids[:, 5], ids[:, 6:] = 58, 59, 0
    return ids


def close(one, other, atol=1e-5):
    torch.testing.assert_close(one, other, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_the_one_interface(method):
    model, mask = network(method), torch.ones(2, FRAMES)
    video, text = model.encode_video(clips(), mask), model.encode_text(texts())
    assert video.shape == (2, FRAMES if method == "clip4clip" else 1, 24) and text.shape == (2, 24)
    logits = model.similarity(text, video, mask)
    close(model.similarity_matrix(text, video, mask, block=1), logits)
    loss, rows = model(texts(), clips(), mask)
    close(rows, logits)
    close(loss / 2, model.loss(logits))
    close(model(texts(), clips(), mask, chunk=1)[0], loss)
    assert model.encode_image(clips()[:, 0]).shape == (2, 24)
    loss.backward()
    computed = {name for name, p in model.named_parameters() if p.grad is not None}
    assert computed == {name for name, _ in model.named_parameters() if model.is_computed(name)}
    model.clip.logit_scale.data.fill_(9)
    model.clamp_logit_scale()
    assert model.clip.logit_scale.item() == pytest.approx(4.6052, abs=1e-4)


@pytest.mark.parametrize("method", ["stop", "tempme", "unified"])
@pytest.mark.parametrize("tower", TOWERS)
def test_every_method_fits_every_tower(tower, method):
    config = TOWERS[tower]
    with torch.device("meta" if tower != "small" else "cpu"):
        # Most towers have shapes but no numbers here, and therefore no mask and no spectra.
        model = build_method(method, CLIP(config), {"max_frames": 4}).eval()
        if model.dynamic is not None:
            model.dynamic.convolution = direct_convolution
        tokens = model.video_tokens(torch.zeros(2, 4, 3, config.resolution, config.resolution))
    assert tokens.videos == 2 and tokens.classes == (1 if method == "stop" else 4)
    patches = tokens.frames.shape[1] - tokens.classes - tokens.prompts
    if method != "stop":
        assert (tokens.rows, tokens.classes, patches) == model.plan.counts(config.vision_layers, config.grid**2)[-1]
    else:
        assert (tokens.rows, tokens.prompts, patches) == (4, 4, config.grid**2)


@pytest.mark.parametrize("method", ["stop", "tempme", "unified", "dgl"])
@pytest.mark.parametrize("space", ["transformer", "linear"])
def test_a_batch_of_two_is_one_by_one(method, space):
    model, mask = network(method, shared_latent_space=space), torch.tensor([[1] * 6, [1, 1, 1, 1, 0, 0]])
    together = model.encode_video(clips(), mask)
    alone = torch.cat([model.encode_video(clips()[n : n + 1], mask[n : n + 1]) for n in range(2)])
    close(together, alone)
    close(model.encode_text(texts()), torch.cat([model.encode_text(row[None]) for row in texts()]))


@pytest.mark.parametrize("method", ["stop", "tempme", "unified", "dgl"])
def test_hidden_frames_have_no_influence(method):
    model, mask = network(method), torch.tensor([[1, 1, 1, 1, 0, 0]] * 2)
    other = torch.where(mask.bool()[..., None, None, None], clips(), 7.0)
    close(model.encode_video(other, mask), model.encode_video(clips(), mask))
    assert not torch.allclose(model.encode_video(clips()), model.encode_video(clips(), mask), atol=1e-3)


@pytest.mark.parametrize("method", ["stop", "dgl"])
def test_a_padded_video_is_the_shorter_one(method):
    model, mask = network(method), torch.tensor([[1, 1, 1, 1, 0, 0]] * 2)
    close(model.encode_video(clips(), mask), model.encode_video(clips()[:, :4]))
    model = network(method, visual_output_type="average_global_prompt_and_frame_cls_token")
    close(model.encode_video(clips(), mask), model.encode_video(clips()[:, :4]))


def test_merging_repeats_the_frames_that_are_there():
    frames = torch.arange(4).view(1, 4, 1)
    for mask, expected in (
        ([1, 1, 1, 0], [0, 0, 1, 2]), ([1, 0, 1, 0], [0, 0, 2, 2]), ([0, 0, 1, 0], [2] * 4), ([1] * 4, [0, 1, 2, 3]),
    ):  # fmt: skip
        assert repeat_present(frames, torch.tensor([mask]).bool()).flatten().tolist() == expected


def same_weights(target, source):
    for name, own in target.state_dict().items():
        given = source.state_dict().get(name)
        if given is not None and given.shape == own.shape:
            own.copy_(given)
    return target


def test_without_merging_it_is_stop_and_low_rank_additions():
    for rank in (0, 3):
        joined = network("unified", training_mode="stop_only", lora_dim=rank)
        # STOP with the additions folded into its backbone.
        stop = network("stop", seed=1)
        fold_lora(joined)
        same_weights(stop, joined)
        close(joined.encode_video(clips()), stop.encode_video(clips()))
        close(joined.encode_text(texts()), stop.encode_text(texts()))


def test_without_prompts_it_is_tempme():
    joined = network("unified", training_mode="tempme_only")
    tempme = same_weights(network("tempme", seed=1), joined)
    close(joined.encode_video(clips()), tempme.encode_video(clips()))
    close(joined.encode_text(texts()), tempme.encode_text(texts()))


def test_without_both_it_is_clip_with_low_rank_additions_and_mean_pooling():
    joined = network("unified", prompts=False, merge=False)
    assert not joined.prompts and not joined.merge
    fold_lora(joined)
    plain = same_weights(network("clip4clip", seed=1), joined)
    frames = plain.encode_video(clips())
    close(joined.encode_video(clips())[:, 0], normalize(frames, dim=-1).mean(1))
    close(joined.encode_text(texts()), plain.encode_text(texts()))


def test_joint_without_joining_and_additions_is_stop():
    off = {"merge_layer": "0-1", "merge_frame_num": "1-1", "merge_token_proportion": "0-0", "tome_r": 0, "lora_dim": 0}
    joined = network("unified", **off, video_readout="global_prompt0")
    stop = same_weights(network("stop", seed=1), joined)
    close(joined.encode_video(clips()), stop.encode_video(clips()))


def test_prompts_stay_as_many_and_sizes_add_up_at_every_layer():
    model, seen = network("unified"), []
    forward = type(model.clip.visual.transformer).forward

    class Watch:
        start = staticmethod(lambda tokens: tokens)
        before = staticmethod(lambda layer, tokens: tokens)
        merge = staticmethod(lambda layer, tokens, keys: tokens)
        after = staticmethod(lambda layer, tokens: seen.append(tokens) or tokens)

    tower = model.clip.visual.transformer
    tower.forward = lambda tokens, prompts: forward(tower, tokens, [*prompts, Watch])
    model.encode_video(clips())
    assert len(seen) == 3
    for tokens in seen:
        assert tokens.rows * tokens.prompts == 4 * FRAMES and tokens.rows * tokens.classes == FRAMES
        sizes = tokens.size[:, tokens.classes + tokens.prompts :].reshape(2, -1).sum(1)
        assert sizes.tolist() == [FRAMES * 16] * 2


def test_checkpoints_of_any_mode_fit_all_modes():
    modes = [network("unified", training_mode=mode) for mode in ("joint", "stop_only", "tempme_only")]
    assert set(modes[0].state_dict()) == set(modes[1].state_dict()) == set(modes[2].state_dict())
    computed = [{n for n, _ in m.named_parameters() if m.is_new(n) and m.is_computed(n)} for m in modes]
    assert computed[1] < computed[0] and computed[2] < computed[0] and computed[1] | computed[2] == computed[0]


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("stop", {"compat": "released"}),
        ("stop", {"visual_output_type": "average_global_prompt"}),
        ("stop", {"visual_output_type": "average_frame_cls_token"}),
        ("stop", {"visual_output_type": "average_global_prompt_and_frame_cls_token"}),
        ("stop", {"adapter": False}),
        ("stop", {"pixel_prompt": False}),
        ("stop", {"regions": 3}),
        ("stop", {"temporal_prompt": "DGL"}),
        ("tempme", {"tome_r": 4}),
        ("tempme", {"tome_propattn": False}),
        ("tempme", {"merge_layer": "0", "merge_frame_num": "6"}),
        ("tempme", {"merge_layer": "1-2", "merge_frame_num": "3-2"}),
        ("tempme", {"merge_token_proportion": "10-10"}),
        ("tempme", {"merge_token_proportion": "30-30"}),
        ("tempme", {"frame_pos": False}),
        ("unified", {"training_mode": "stop_only"}),
        ("unified", {"merge": False}),
        ("unified", {"prompts": False}),
        ("unified", {"video_readout": "global_prompt0"}),
        ("unified", {"video_readout": "frame_cls_mean"}),
        ("unified", {"pixel_prompt": False}),
    ],
)
def test_every_setting_changes_the_feature(method, changes):
    plain = network(method)
    changed = same_weights(network(method, seed=1, **changes), plain)
    assert not torch.allclose(plain.encode_video(clips()), changed.encode_video(clips()), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"text_prompt_length": 4}, {"clip.unified_prompt_embedding.weight": (4 + 24, 192)}),
        ({"local_each_frame_prompt_length": 2}, {"clip.unified_prompt_embedding.weight": (8 + 12, 192)}),
        ({"global_visual_prompt_length": 3}, {"clip.visual.prompt_embeddings": (1, 3, 64)}),
        ({"unified_transformer_layers": 2}, {"clip.unified_prompt_embedding.weight": (8 + 24, 128)}),
        ({"shared_latent_space": "linear"}, {"clip.visual_prompt_embedding": (1, 4, 192)}),
        ({"adapter_width": 5}, {"clip.visual.transformer.resblocks.0.LoRA.0.weight": (5, 64)}),
        ({"max_frames": 8}, {"clip.unified_prompt_embedding.weight": (8 + 32, 192)}),
    ],
)
def test_sizes_are_settings(changes, shape):
    model = network("unified", **changes)
    tensors = model.state_dict()
    assert {name: tuple(tensors[name].shape) for name in shape} == shape
    frames = changes.get("max_frames", FRAMES)
    assert model.encode_video(clips(frames=frames)).isfinite().all() and model.encode_text(texts()).isfinite().all()


def test_fewer_layers_with_prompts_end_the_text_tower():
    model = network("stop", unified_transformer_layers=1)
    loss, _ = model(texts(), clips(), torch.ones(2, FRAMES))
    loss.backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None}
    assert idle == {name for name, _ in model.named_parameters() if not model.is_computed(name)}
    assert {n for n in idle if "transformer.resblocks.1." in n} and not {n for n in idle if ".visual." in n}


def test_dropout_only_in_training_and_a_picture_does_not_depend_on_the_batch():
    model = network("stop")
    picture = clips()[0]
    close(model.encode_image(picture)[2], model.encode_image(picture[2:3])[0])
    model.train()
    assert not torch.allclose(model.encode_image(picture), model.encode_image(picture), atol=1e-4)


@pytest.mark.parametrize("method", ["stop", "tempme", "unified"])
def test_half_precision_is_near_and_the_loss_stays_float32(method):
    model, mask = network(method), torch.tensor([[1] * 6, [1, 1, 1, 1, 0, 0]])
    plain = model.encode_text(texts())
    with torch.autocast("cpu", torch.bfloat16):
        text, video = model.encode_text(texts()), model.encode_video(clips(), mask)
        loss, rows = model(texts(), clips(), mask)
    assert video.isfinite().all() and loss.dtype == rows.dtype == torch.float32
    torch.testing.assert_close(text.float(), plain, rtol=0.1, atol=0.1)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("vop", {}, "unknown method 'vop'; known: clip4clip, stop"),
        ("stop", {"compat": "old"}, "compat is 'old'; known: repaired, released"),
        ("stop", {"local_each_frame_prompt_length": 0}, "must be 1 or more"),
        ("stop", {"text_prompt_length": 5}, "half goes before"),
        ("stop", {"shared_latent_space": "linear", "text_prompt_length": 4}, "twice as many"),
        ("tempme", {"merge_layer": "1", "merge_frame_num": "4"}, "6 clips cannot be joined 4 by 4"),
        ("tempme", {"merge_layer": "3", "merge_frame_num": "2"}, "has the layers 0 to 2"),
        ("unified", {"prompts": False, "video_readout": "both"}, "the read-out both needs prompts"),
    ],
)
def test_what_does_not_fit_is_refused_early(method, changes, message):
    with pytest.raises(ValueError, match=message):
        network(method, **changes)


def test_more_frames_than_prompts_are_refused_and_settings_travel():
    with pytest.raises(ValueError, match="9 frames; this model has prompts and positions for 6"):
        network("stop").encode_video(clips(frames=9))
    settings = MethodSettings(max_frames=6, lora_dim=3)
    assert MethodSettings.of(vars(settings) | {"corpus": "MSVD"}) == settings
    assert settings.but(lora_dim=2) == replace(settings, lora_dim=2)
