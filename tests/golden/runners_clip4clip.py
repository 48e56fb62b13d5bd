"""Golden values of CLIP's towers and of CLIP4Clip's similarities, losses and gradients."""

import re

import fill
import numpy as np
import torch

from model import CLIP4Clip
from model.backbone.clip import CLIP, config_of
from utility.clip_text import ClipTokenizer


def close(got, arrays, name, tolerance) -> None:
    np.testing.assert_allclose(got.detach().numpy(), arrays[name], **tolerance, err_msg=name)


def towers(spec, arrays, folder) -> None:
    config, tolerance = spec["config"], spec["tolerance"]
    heads = {"vision_heads": config["vision_heads"], "text_heads": config["text_heads"]}
    clip = CLIP.from_state_dict(fill.state_dict(spec["state_dict"]), "quick_gelu", **heads).eval()
    frames = torch.from_numpy(fill.inputs(spec["inputs"]["frames"]["name"], spec["inputs"]["frames"]["shape"]))
    ids = torch.from_numpy(arrays["text_ids"])
    videos = frames.shape[0] // config["video_frame"]
    with torch.inference_mode():
        tokens = clip.image_tokens(frames, videos=videos)
        words = clip.text_tokens(ids)
        images, texts = clip.encode_image(frames, videos=videos), clip.encode_text(ids)
    close(images, arrays, "image_features", tolerance)
    close(texts, arrays, "text_features", tolerance)
    close(tokens[: len(arrays["image_hidden"])], arrays, "image_hidden", tolerance)
    close(words[: len(arrays["text_hidden"])], arrays, "text_hidden", tolerance)
    if "logits_per_image" in arrays:
        count = len(arrays["logits_per_image"])
        unit = [torch.nn.functional.normalize(x, dim=-1) for x in (images[:count], texts)]
        logits = clip.logit_scale.exp() * unit[0] @ unit[1].T
        close(logits, arrays, "logits_per_image", tolerance)
        close(logits.T, arrays, "logits_per_text", tolerance)


def limits(words: str) -> dict[str, float]:
    """{"rtol": ..., "atol": ...} of a sentence such as "rtol 1e-4, atol 2e-5"."""
    found = re.findall(r"([ra]tol) ([0-9.e-]+)", words)
    return {"rtol": 0.0, "atol": 0.0} | {name: float(value) for name, value in found}


def retriever(spec) -> CLIP4Clip:
    config, shapes = spec["config"], spec["state_dict"]
    weights = fill.state_dict(shapes)
    tower = {name.removeprefix("clip."): value for name, value in weights.items() if name.startswith("clip.")}
    heads = {name: config[name] for name in ("vision_heads", "text_heads") if name in config}
    model = CLIP4Clip(
        CLIP(config_of(tower, "quick_gelu", **heads)),
        config["sim_header"],
        config["cross_num_hidden_layers"],
        config.get("head_attention_heads"),
    ).eval()
    assert {name: list(value.shape) for name, value in model.state_dict().items()} == shapes
    model.load_state_dict(weights)
    return model


def clips(spec, mask) -> torch.Tensor:
    given = spec["inputs"]["video"]
    video = torch.from_numpy(fill.inputs(given["name"], given["shape"]))
    video = video.reshape(*mask.shape, *video.shape[-3:])
    return video * mask[..., None, None, None]


def similarity(spec, arrays, folder) -> None:
    tolerance, model = spec["tolerance"], retriever(spec)
    mask = torch.from_numpy(arrays["video_mask"])
    text, frames = model.encode_text(torch.from_numpy(arrays["text_ids"])), model.encode_video(clips(spec, mask))
    logits = model.similarity(text, frames, mask)
    loss = model.loss(logits)
    features = limits(tolerance["features"])
    close(text[:, None], arrays, "sequence_output", features)
    close(frames, arrays, "visual_output", features)
    close(logits, arrays, "sim_matrix", limits(tolerance["sim_matrix"]))
    close(loss, arrays, "loss", limits(tolerance["loss"]))
    total, rows = model.contrast(text, frames, mask)
    close(total / len(text), arrays, "loss", limits(tolerance["loss"]))
    close(rows, arrays, "sim_matrix", limits(tolerance["sim_matrix"]))
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, norm in spec["gradient_norms"].items():
        limit = limits(tolerance["gradient_norms"]) | {"atol": 1e-6}
        np.testing.assert_allclose(gradients[name].norm().item(), norm, **limit, err_msg=name)
    assert [name for name in spec["parameters_without_gradient"] if gradients[name] is not None] == []


def towers_published(spec, arrays, folder) -> None:
    tolerance, model = spec["tolerance"], retriever(spec)
    assert sum(parameter.numel() for parameter in model.parameters()) == spec["parameters"]
    mask = torch.from_numpy(arrays["video_mask"])
    video = clips(spec, mask)
    with torch.inference_mode():
        text, frames = model.encode_text(torch.from_numpy(arrays["text_ids"])), model.encode_video(video)
        logits = model.similarity(text, frames, mask)
        tokens = model.clip.image_tokens(video[0], videos=1)[0]
    rows, channels = arrays["hidden_slice"].shape
    step = (tokens.shape[0] - 1) // (rows - 1)
    features = limits(tolerance["features"])
    close(text[:, None], arrays, "sequence_output", features)
    close(frames, arrays, "visual_output", features)
    close(tokens[::step][:rows, :channels], arrays, "hidden_slice", features)
    close(logits, arrays, "sim_matrix", limits(tolerance["sim_matrix"]))


def token_rows(spec, arrays, folder) -> None:
    tokenizer = ClipTokenizer(read_markers=True)
    assert (tokenizer.vocab_size, tokenizer.start, tokenizer.end) == (spec["vocab_size"], spec["start"], spec["end"])
    for sentence in spec["sentences"]:
        text = sentence["text"]
        assert tokenizer.encode(text) == sentence["ids"], text
        assert tokenizer.tokens(text) == sentence["tokens"], text
        assert tokenizer.decode(sentence["ids"]) == sentence["decoded"], text
        for name in (name for name in sentence if name.startswith("packed_")):
            length = name.removeprefix("packed_")
            ids, mask = tokenizer.pack([text], int(length))
            assert ids[0].tolist() == sentence[name], text
            assert mask[0].tolist() == sentence[f"mask_{length}"], text


RUNNERS = {
    "clip4clip/towers": towers,
    "clip4clip/towers_published": towers_published,
    "clip4clip/similarity": similarity,
    "clip4clip/tokens": token_rows,
}
