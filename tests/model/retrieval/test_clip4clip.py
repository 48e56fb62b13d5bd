import pytest
import torch

from model import CLIP4Clip
from model.backbone.clip import CLIP, CLIPConfig
from model.retrieval.clip4clip import HEADERS
from model.retrieval.losses import symmetric_cross_entropy

TINY = CLIPConfig(
    embed_dim=32, resolution=16, patch=8, vision_width=32, vision_layers=1, vision_heads=2,
    text_width=32, text_layers=2, text_heads=2, context_length=12, vocab_size=60,
)  # fmt: skip


def build(header="meanP", **changes):
    torch.manual_seed(0)
    return CLIP4Clip(CLIP(CLIPConfig(**(TINY.__dict__ | changes))), header, 2, 2).eval()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 58, (4, 7), generator=generator)
    ids[:, -1] = 59
    frames = torch.randn(4, 3, 3, 16, 16, generator=generator)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]])
    return ids, frames, mask


@pytest.mark.parametrize("header", HEADERS)
def test_masked_frames_change_nothing(header, batch):
    model = build(header)
    ids, frames, mask = batch
    text = model.encode_text(ids)
    noisy = torch.where(mask[..., None, None, None] > 0, frames, torch.full_like(frames, 9.0))
    first, second = (model.similarity(text, model.encode_video(x, mask), mask) for x in (frames, noisy))
    torch.testing.assert_close(first, second)
    alone = model.similarity(text, model.encode_video(frames[1:2], mask[1:2]), mask[1:2])
    torch.testing.assert_close(first[:, 1:2], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("header", HEADERS)
def test_contrast_is_the_loss_of_the_whole_matrix(header, batch):
    model = build(header)
    ids, frames, mask = batch
    total, rows = model(ids, frames, mask)
    logits = model.similarity(model.encode_text(ids), model.encode_video(frames), mask)
    torch.testing.assert_close(rows, logits)
    torch.testing.assert_close(total / 4, symmetric_cross_entropy(logits))


@pytest.mark.parametrize("header", HEADERS)
def test_parts_of_two_processes_add_up_to_the_whole(header, batch):
    model = build(header)
    ids, frames, mask = batch
    text, video = model.encode_text(ids), model.encode_video(frames)
    whole, _ = model.contrast(text, video, mask)
    pooled = None if header == "tightTransf" else model.pool(video, mask)
    unit = torch.nn.functional.normalize(text, dim=-1)

    def gather(part):
        """All rows of whichever tensor this is a part of, as the other process would supply them."""
        for full in (text, video, mask.float(), unit, pooled):
            if full is not None and full.shape[1:] == part.shape[1:]:
                for offset in (0, 2):
                    if torch.allclose(full[offset : offset + 2], part):
                        return full
        raise AssertionError("a part of nothing")

    parts = [model.contrast(text[i : i + 2], video[i : i + 2], mask[i : i + 2], gather, i // 2)[0] for i in (0, 2)]
    torch.testing.assert_close(sum(parts), whole)


@pytest.mark.parametrize("chunk", [1, 3])
def test_chunks_have_the_gradient_of_the_whole_batch(chunk, batch):
    gradients = []
    for size in (0, chunk):
        model = build().double()
        ids, frames, mask = batch
        model(ids, frames.double(), mask, chunk=size)[0].backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], msg=lambda m, n=name: f"{n}: {m}")


def test_frame_order_matters_to_sequence_headers_only(batch):
    ids, frames, _ = batch
    mask = torch.ones(4, 3, dtype=torch.long)
    for header in HEADERS:
        model = build(header)
        text = model.encode_text(ids)
        forth, back = (model.similarity(text, model.encode_video(x), mask) for x in (frames, frames.flip(1)))
        assert torch.allclose(forth, back, atol=1e-5) == (header == "meanP"), header


def test_a_clip_without_frames_is_not_a_number_nowhere(batch):
    ids, frames, mask = batch
    mask = mask.clone()
    mask[2] = 0
    for header in HEADERS:
        model = build(header)
        assert model.similarity(model.encode_text(ids), model.encode_video(frames, mask), mask).isfinite().all(), header


def test_headers_start_from_the_text_tower():
    model = build("seqTransf")
    for own, text in zip(model.transformerClip.resblocks, model.clip.transformer.resblocks, strict=True):
        for name, value in own.state_dict().items():
            assert torch.equal(value, text.state_dict()[name])
    assert torch.equal(model.frame_position_embeddings.weight, model.clip.positional_embedding)
    cross = build("tightTransf").cross
    assert torch.equal(cross.embeddings["position_embeddings"].weight, model.clip.positional_embedding)


def test_logits_stay_exact_under_autocast(batch):
    model = build()
    with torch.autocast("cpu", torch.bfloat16):
        _, rows = model(*batch)
    assert rows.dtype == torch.float32
    model.clip.logit_scale.data.fill_(9.0)
    model.clamp_logit_scale()
    assert model.clip.logit_scale.exp().item() == pytest.approx(100)


def test_wrong_settings_are_named(batch):
    with pytest.raises(ValueError, match="known: meanP, seqLSTM"):
        build("mean")
    with pytest.raises(ValueError, match="must equal embedding width 16"):
        build("seqTransf", embed_dim=16)
    model = build("seqTransf", context_length=2)
    with pytest.raises(ValueError, match="positions for 2"):
        model.pool(torch.ones(1, 3, 32), torch.ones(1, 3))
    with pytest.raises(ValueError, match="no vector per video"):
        build("tightTransf").pool(torch.ones(1, 3, 32), torch.ones(1, 3))


@pytest.mark.parametrize("header", HEADERS)
def test_blocks_give_the_whole_matrix(header, batch):
    model = build(header)
    ids, frames, mask = batch
    text, video = model.encode_text(ids), model.encode_video(frames)
    torch.testing.assert_close(
        model.similarity_matrix(text, video, mask, block=3),
        model.similarity(text, video, mask).detach(),
        rtol=1e-4,
        atol=1e-5,
    )
