import pytest
import torch
from recogniser_samples import FRAMES, NAMES, recogniser, rows, small_clip, texts, videos
from torch.nn.functional import normalize

from model.backbone.clip import CLIP, small_config
from model.recognition import METHODS, build

ALL = list(METHODS)
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def gradients(model, pixels, labels, mask=None):
    model.train().zero_grad()
    classes = texts(model)
    model.loss(model(pixels, classes, mask), labels, classes).backward()
    return {name: x.grad for name, x in model.learner().items() if x.grad is not None}


@pytest.mark.parametrize("views", [1, 3])
def test_untrained_video_coop_without_context_is_zero_shot_clip(views):
    clip = small_clip()
    clip.logit_scale.data.fill_(3.0)
    model = build("video_coop", clip, {"ctx-len": 0, "temporal-pooling": "mean"}).eval()
    pixels = videos(views=views)
    with torch.inference_mode():
        got = model(pixels, texts(model)).logits
        frames = normalize(clip.encode_image(pixels.flatten(0, 2)), dim=-1).unflatten(0, pixels.shape[:3])
        video = normalize(frames.mean(2), dim=-1)
        names = normalize(clip.encode_text(rows(*NAMES)), dim=-1)
        wanted = (clip.logit_scale.exp() * video @ names.T).mean(1)
    torch.testing.assert_close(got, wanted, **CLOSE)


@pytest.mark.parametrize("name", ALL)
def test_a_batch_of_different_lengths_equals_one_by_one(name):
    model = recogniser(name, temporal_pooling="attention").eval()
    pixels, mask = videos(), torch.ones(2, 2, FRAMES, dtype=torch.bool)
    mask[1, :, -1] = False
    with torch.inference_mode():
        both = model(pixels, texts(model), mask).logits
        long = model(pixels[:1], texts(model)).logits
        short = model(pixels[1:, :, : FRAMES - 1], texts(model)).logits
    torch.testing.assert_close(both, torch.cat([long, short]), **CLOSE)


@pytest.mark.parametrize("name", ALL)
def test_views_without_frames_do_not_count(name):
    model = recogniser(name, temporal_pooling="attention").eval()
    pixels, mask = videos(), torch.ones(2, 2, FRAMES, dtype=torch.bool)
    mask[0, 1] = False
    with torch.inference_mode():
        got = model(pixels, texts(model), mask).logits[:1]
        torch.testing.assert_close(got, model(pixels[:1, :1], texts(model)).logits, **CLOSE)


@pytest.mark.parametrize("name", ALL)
def test_longer_names_in_the_call_change_nothing_on_the_clip_path_only(name):
    pixels = videos(1)
    for path, same in (("clip", True), ("recorded", False)):
        model = recogniser(name, text_path=path).eval()
        with torch.inference_mode():
            alone, among = (model(pixels, texts(model, names)).logits[:, :2] for names in (NAMES[:2], NAMES))
        assert torch.allclose(alone, among, **CLOSE) == same


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("path", [{}, {"text_path": "recorded", "summary_attention": "frame"}])
@pytest.mark.parametrize("chunks", [{"use_checkpointing": True}, {"frames_per_chunk": FRAMES, "texts_per_chunk": 1}])
def test_less_memory_gives_the_same_gradients(name, path, chunks):
    path, chunks = ({k: v for k, v in given.items() if k in METHODS[name].keys} for given in (path, chunks))
    pixels, labels = videos(), torch.tensor([1, 3])
    plain = gradients(recogniser(name, **path), pixels, labels)
    cheap = gradients(recogniser(name, **path, **chunks), pixels, labels)
    assert plain.keys() == cheap.keys() and "logit_scale" in plain
    for key, value in plain.items():
        torch.testing.assert_close(cheap[key], value, rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.parametrize("name", ALL)
def test_what_the_frozen_part_made_stands_for_pixels(name):
    model, pixels, labels = recogniser(name, temporal_pooling="attention"), videos(), torch.tensor([1, 3])
    plain = gradients(model, pixels, labels)
    kept = gradients(model, model.frozen_part(pixels), labels)
    assert plain.keys() == kept.keys()
    for key, value in plain.items():
        torch.testing.assert_close(kept[key], value, rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.parametrize(("name", "keeps"), [("video_coop", True), ("dual_coop", False)])
def test_keeping_pays_without_vision_prompts_or_with_a_stem(name, keeps):
    assert recogniser(name).keeps_frames == keeps
    stem = CLIP(small_config(resolution=32, stem=(8, 16), vision_width=32, text_width=32, vocab_size=60))
    assert recogniser(name, stem).keeps_frames


@pytest.mark.parametrize("name", ALL)
def test_everything_learns_and_the_backbone_does_not(name):
    model = recogniser(name, temporal_pooling="attention")
    found = gradients(model, videos(), torch.tensor([0, 2]))
    silent = {key for key, x in model.learner().items() if x.numel() and not found.get(key, torch.zeros(1)).any()}
    assert not silent
    assert not any(x.requires_grad for x in model.clip.parameters()) and not model.clip.training


@pytest.mark.parametrize("name", ["vita", "stt"])
def test_frames_mix_in_video_mode_only(name):
    pixels = videos(1, 1)
    other = pixels.clone()
    other[:, :, 1:] = videos(3, 1)[2:, :, 1:]
    for mode, mixes in (("video", True), ("frame", False)):
        model = recogniser(name, summary_attention=mode).eval()
        with torch.inference_mode():
            a, b = (model.encode_views(x.flatten(0, 1))[0][:, 0] for x in (pixels, other))
        assert torch.equal(a, b) != mixes


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_only_vita_and_stt_know_which_frame_comes_first(name, pooling):
    model, pixels = recogniser(name, temporal_pooling=pooling).eval(), videos()
    with torch.inference_mode():
        forth, back = (model(x, texts(model)).logits for x in (pixels, pixels.flip(2)))
    assert torch.allclose(forth, back, **CLOSE) == (name not in ("vita", "stt"))


@pytest.mark.parametrize("name", ALL)
def test_cached_texts_give_the_same_logits_and_do_not_train(name):
    model = recogniser(name).eval()
    classes = texts(model)
    cached = model.cached(classes)
    torch.testing.assert_close(model(videos(), cached).logits, model(videos(), classes).logits)
    if METHODS[name].text_per_view:
        assert cached is classes
    else:
        with pytest.raises(ValueError, match="cached text features do not learn"):
            model.train()(videos(), cached)


def test_texts_that_see_the_video_share_the_layers_before_the_first_summary():
    model = recogniser("stt", layers_with_summary_to_text=[1, 2]).eval()
    seen = []
    for block in model.clip.transformer.resblocks:
        block.mlp.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    with torch.inference_mode():
        model(videos(), texts(model))
    assert seen == [4, 16, 16]


def test_other_classes_need_no_training():
    model = recogniser("dual_coop").eval()
    logits = model(videos(), texts(model, NAMES[1:])).logits
    torch.testing.assert_close(logits, model(videos(), texts(model)).logits[:, 1:], **CLOSE)


@pytest.mark.parametrize("name", ALL)
def test_a_small_tower_with_a_stem(name):
    torch.manual_seed(0)
    model = build(name, CLIP(small_config(resolution=32)), {}).train()
    classes = texts(model)
    result = model(videos(1, 1, 4, 32), classes)
    model.loss(result, torch.tensor([1]), classes).backward()
    assert result.logits.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_bfloat16_autocast_gives_nearly_the_same(name):
    model = recogniser(name, temporal_pooling="attention").eval()
    with torch.inference_mode():
        plain = model(videos(), texts(model))
        with torch.autocast("cpu", torch.bfloat16):
            half = model(videos(), texts(model))
    assert half.logits.dtype == torch.float32
    assert (half.video - plain.video).norm() < 0.05 * plain.video.norm()


def test_errors_say_what_to_do():
    clip = small_clip()
    with pytest.raises(ValueError, match="unknown method 'coop'; known: video_coop"):
        build("coop", clip)
    with pytest.raises(ValueError, match="Video-CoOp has no setting ctx_length; did you mean ctx_len"):
        build("video_coop", clip, {"ctx-length": 4})
    with pytest.raises(ValueError, match="text_path is 'x'; allowed: clip, recorded"):
        build("video_coop", clip, {"text-path": "x"})
    with pytest.raises(ValueError, match="has \\[3\\]; the towers share layers 0 to 2"):
        build("stt", clip, {"layers-with-summary-to-text": [0, 3]})
    with pytest.raises(ValueError, match="mean pooling has nothing to learn"):
        build("vita", clip, {"learn-just-pooling": True})
    model = recogniser("vita")
    with pytest.raises(ValueError, match="4 frames per view, but there are frame tokens for 3"):
        model(videos(frames=4), texts(model))
    with pytest.raises(ValueError, match=r"expected \[B, V, T, 3, R, R\]"):
        model(videos()[0], texts(model))
    with pytest.raises(ValueError, match=r"expected \[B, V, T, 3, R, R\]"):
        model(recogniser("video_coop").frozen_part(videos()), texts(model))
    model = build("video_coop", clip, {"ctx-len": 15})
    with pytest.raises(ValueError, match="has 20 positions; use a shorter context"):
        texts(model) and model.embed_text(texts(model))


def test_just_the_pooling_learns():
    model = recogniser("dual_coop", learn_just_pooling=True)
    assert {name for name, x in model.learner().items() if x.requires_grad} == {
        name for name in model.learner() if name.startswith("temporal_pooling.")
    }


def test_the_temperature_stays_at_a_hundred():
    model = recogniser("video_coop")
    model.logit_scale.data.fill_(10.0)
    model(videos(), texts(model))
    assert model.logit_scale.exp().item() == pytest.approx(100, rel=1e-5)


CHANGES = {
    "text_path": "recorded", "summary_attention": "frame", "temporal_pooling": "max", "num_heads_attention_pooling": 2,
    "ctx_len": 3, "ctx_len_video": 3, "std_init": 0.5, "keep_vision_prompts_throughout": True,
    "use_handcrafted_features": True, "regularisation_strength": 0.7, "cosine_regularisation_strength": 0.3,
    "num_frames": 5, "num_frame_tokens": 2, "has_discriminative_conditioning": False, "num_heads_summary_attention": 4,
    "layers_with_summary_to_text": [2], "num_tokens_per_layer_text": 2, "num_tokens_per_layer_vision": 2,
    "modality_transfer_text": [[[0], [0]], [[], []], [[], []]],
    "modality_transfer_vision": [[[0], [0]], [[], []], [[], []]], "loss_function": "kl-divergence",
}  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_each_setting_changes_the_loss(name):
    def loss(**settings):
        torch.manual_seed(3)
        pooling = {} if "temporal_pooling" in settings else {"temporal_pooling": "attention"}
        model = build(name, clip, {"num_frames": FRAMES} | pooling | settings if frames else pooling | settings)
        classes = texts(model)
        with torch.no_grad():
            return model.loss(model(videos(), classes), torch.tensor([0, 1]), classes).item()

    clip, frames = small_clip(), "num_frames" in METHODS[name].keys
    plain = loss()
    assert plain == loss()
    for key in set(CHANGES) & set(METHODS[name].keys):
        if key.startswith("modality"):
            lists = {other: CHANGES[other] for other in CHANGES if other.startswith("modality")}
            assert loss(**lists) != plain, key
        else:
            assert loss(**{key: CHANGES[key]}) != plain, key


def test_every_setting_is_covered():
    untouched = {
        "regularisation_text",
        "learn_just_pooling",
        "use_checkpointing",
        "frames_per_chunk",
        "texts_per_chunk",
    }
    assert set(CHANGES) | untouched == {key for method in METHODS.values() for key in method.keys}


def test_the_template_changes_what_handcrafted_features_are():
    seen = []
    for template in ("one", "another"):
        model = build("vilt", small_clip(), {"regularisation-text": template})
        model.class_texts(["run"], lambda given: seen.append(list(given)) or rows(*NAMES[:1]))
    assert seen == [["one run"], ["run"], ["another run"], ["run"]]
