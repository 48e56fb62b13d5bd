"""Golden values of STOP, TempMe and their union: tokens, features, similarities, losses and gradients."""

import re

import fill
import numpy as np
import torch
from runners_clip4clip import close, limits
from torch import nn

from model.backbone.clip import CLIP, CLIPConfig, config_of
from model.prompts.token_matching import match
from model.retrieval.methods import build_method
from model.retrieval.readout import READ, project_tokens
from pretrained.retrieval_weights import DROPPED, load_retrieval, settings_of


def filled(given) -> torch.Tensor:
    return given.get("scale", 1.0) * torch.from_numpy(fill.inputs(given["name"], given["shape"]))


def load(model: nn.Module, shapes: dict) -> nn.Module:
    """Every tensor of the fixture has a place in the model, and every parameter a tensor."""
    weights = fill.state_dict(shapes)
    assert load_retrieval(model, weights, "the fixture") == []
    assert set(model.state_dict()) == {name for name in weights if not name.endswith(DROPPED)}
    return model.eval()


def empty(shapes: dict) -> dict:
    """Tensors of these shapes without numbers."""
    floats = {name: shape for name, shape in shapes.items() if not name.endswith(DROPPED)}
    return {name: torch.empty(shape, device="meta") for name, shape in floats.items()}


def clip_of(shapes: dict, heads: dict) -> CLIP:
    return CLIP(config_of({n.removeprefix("clip."): x for n, x in empty(shapes).items()}, "quick_gelu", **heads))


# ---------------------------------------------------------------------------------------------------------- STOP


def stop_model(spec, compat: str) -> nn.Module:
    config = spec["config"]
    heads = {name: config[name] for name in ("vision_heads", "text_heads")}
    settings = settings_of(empty(spec["state_dict"])) | config | {"compat": compat, "adapter": config["lora"]}
    return load(build_method("stop", clip_of(spec["state_dict"], heads), settings), spec["state_dict"])


def stop_video(spec) -> torch.Tensor:
    video = filled(spec["inputs"]["video"])
    return video[:, 0] if video.ndim == 6 else video


class Watched:
    """What STOP's temporal module computes on the way."""

    def __init__(self, model: nn.Module):
        self.model, module = model, model.dynamic
        self.seen: dict[str, torch.Tensor] = {}
        if module is not None:
            self.keep(module, "pixels", ("prompted", "selected"))
            self.keep(module, "between_frames", ("inter_frame",))
            self.keep(module, "_weigh_frames", ("weights",))

    def keep(self, module: nn.Module, name: str, parts: tuple[str, ...]) -> None:
        inner = getattr(module, name)

        def outer(*args, **kwargs):
            out = inner(*args, **kwargs)
            self.seen |= dict(zip(parts, out if isinstance(out, tuple) else (out,), strict=True))
            return out

        setattr(module, name, outer)


def check_dynamic(spec, arrays, seen) -> None:
    features = limits(spec["tolerance"]["features"])
    if "region_mask" in arrays:
        place = re.search(r"rows (\d+)-(\d+), columns (\d+)-(\d+)", spec["outputs"]["prompted_pixels_slice"])
        top, bottom, left, right = map(int, place.groups())
        pixels = seen["prompted"][..., top : bottom + 1, left : right + 1]
        close(pixels, arrays, "prompted_pixels_slice", features)
        selected = seen["selected"].reshape(arrays["region_mask"].shape).detach()
        np.testing.assert_array_equal(selected.numpy() > 0.5, arrays["region_mask"], err_msg="region_mask")
        close(seen["weights"], arrays, "frame_weights", features)
    if "inter_frame_prompt" in arrays:
        prompts = seen["inter_frame"].flatten(1, 2)
        close(prompts[..., : arrays["inter_frame_prompt"].shape[-1]], arrays, "inter_frame_prompt", features)


def released_order(tokens) -> torch.Tensor:
    """Global prompts, then slot by slot the tokens of all frames: [B, g + n T, D]."""
    frames = tokens.frames.unflatten(0, (tokens.videos, -1)).transpose(1, 2).flatten(1, 2)
    return torch.cat([tokens.video, frames], 1)


def stop(spec, arrays, folder) -> None:
    model, tolerance = stop_model(spec, "released"), spec["tolerance"]
    features = limits(tolerance["features"])
    assert sum(parameter.numel() for parameter in model.parameters()) == spec["n_total"]
    named = dict(model.named_parameters())
    new = [name for name in named if model.is_new(name)]
    assert sorted(new) == sorted(spec["trainable_parameters"])
    assert sum(named[name].numel() for name in new) == spec["n_trainable"]
    video, ids = stop_video(spec), torch.from_numpy(arrays["text_ids"])
    mask = torch.ones(video.shape[:2])
    wants_gradients = "gradient_norms" in spec
    watched = Watched(model)
    with torch.set_grad_enabled(wants_gradients):
        tokens = model.video_tokens(video, mask)
        frames, globals_ = project_tokens(model.clip.visual, tokens)
        outputs = {name: READ[name](frames, globals_, None) for name in STOP_READ}
        text, vectors = model.encode_text(ids), outputs[spec["config"]["visual_output_type"]][:, None]
        logits = model.similarity(text, vectors, mask)
        loss = model.loss(logits)
        text_prompts, frame_prompts = model.generator()
    close(text[:, None], arrays, "sequence_output", features)
    np.testing.assert_allclose(
        vectors.detach().numpy().reshape(arrays["visual_output"].shape), arrays["visual_output"], **features
    )
    close(logits, arrays, "sim_matrix", limits(tolerance["sim_matrix"]))
    target = torch.arange(len(logits))
    for name, value in (
        ("loss", loss),
        ("loss_t2v", nn.functional.cross_entropy(logits, target)),
        ("loss_v2t", nn.functional.cross_entropy(logits.T, target)),
    ):
        close(value, arrays, name, limits(tolerance.get("loss", tolerance["sim_matrix"])))
    channels = arrays["text_prompt"].shape[-1]
    close(text_prompts[..., :channels], arrays, "text_prompt", features)
    # Linear prompts are recorded once, not once per frame.
    count = arrays["visual_prompt"].shape[1]
    close(frame_prompts.flatten(1, 2)[:, :count, :channels], arrays, "visual_prompt", features)
    listed = re.search(r"token rows \[([\d, ]+)\]", spec["outputs"]["visual_hidden_slice"])[1]
    rows = [int(number) for number in listed.split(",")]
    hidden = released_order(tokens)[:, rows, : arrays["visual_hidden_slice"].shape[-1]]
    close(hidden, arrays, "visual_hidden_slice", features)
    for name, value in outputs.items():
        if f"out_{name}" in arrays:
            close(value.reshape(arrays[f"out_{name}"].shape), arrays, f"out_{name}", features)
    if "out_global_local_feature" in arrays:
        both = torch.cat([globals_[:, :1], frames], 1)
        close(both, arrays, "out_global_local_feature", features)
    check_dynamic(spec, arrays, watched.seen)
    with torch.no_grad():
        if "visual_output_video0_alone" in arrays:
            close(model.encode_video(video[:1]), arrays, "visual_output_video0_alone", features)
    if wants_gradients:
        check_gradients(model, loss, spec)


STOP_READ = [name for name in READ if name not in ("frame_cls_mean", "both")]


def check_gradients(model, loss, spec) -> None:
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, norm in spec["gradient_norms"].items():
        assert (norm is None) == (gradients[name] is None), name
        if norm is None:
            continue
        got = gradients[name].norm().item()
        if name.endswith("TemporalPrompt.Cal_Net_Inter.bias"):
            # A constant added to all scores changes no frame weight: the gradient is zero. PyTorch's 3-D convolution
            # sums it with an error that the fixture recorded (and that the same convolution returns here).
            assert got < 1e-3 * spec["gradient_norms"][name.replace("bias", "weight")], name
            continue
        limit = {"rtol": 1e-3} | {k: v for k, v in limits(spec["tolerance"]["gradient_norms"]).items() if v}
        np.testing.assert_allclose(got, norm, **({"atol": 1e-6} | limit), err_msg=name)
    for name in spec["trainable_without_gradient"]:
        assert gradients[name] is None and not model.is_computed(name), name
    for name in spec["trainable_with_zero_gradient"]:
        assert gradients[name].abs().max() == 0 and not model.is_computed(name), name
    for name, gradient in gradients.items():
        assert not model.is_computed(name) or gradient is not None, name


def stop_repaired(spec, arrays, folder) -> None:
    model, tolerance = stop_model(spec, "repaired"), spec["tolerance"]
    video, ids = stop_video(spec), torch.from_numpy(arrays["text_ids"])
    features, watched = limits(tolerance["features"]), Watched(model)
    with torch.no_grad():
        vectors, text = model.encode_video(video), model.encode_text(ids)
        check_dynamic(spec, arrays, dict(watched.seen))
        close(vectors.reshape(arrays["visual_output"].shape), arrays, "visual_output", features)
        close(text[:, None], arrays, "sequence_output", features)
        logits = model.similarity(text, vectors, torch.ones(video.shape[:2]))
        close(logits, arrays, "sim_matrix", limits(tolerance.get("sim_matrix", "atol 2e-3")))
        alone = torch.cat([model.encode_video(one[None]) for one in video])
    torch.testing.assert_close(alone, vectors, rtol=1e-4, atol=1e-4)


# -------------------------------------------------------------------------------------------------------- TempMe


def matchings(spec, arrays, folder) -> None:
    for case in spec["cases"]:
        name, shape = case["name"], [case["batch"], case["tokens"], case["channels"]]
        metric, tokens = (torch.from_numpy(fill.inputs(f"{name}:{part}", shape)) for part in ("metric", "x"))
        size = torch.ones(shape[:2])
        if case["sizes_given"]:
            size = torch.from_numpy(fill.tokens(f"{name}:size", [*shape[:2], 1], 5, 1)).float()[..., 0]
        kept, first = case["protected"], slice(case["protected"], None)
        matching = match(metric[:, first], case["r"], odd_sources=kept % 2 == 1)
        merged, sizes = matching.merge(tokens[:, first], size[:, first])
        merged, sizes = torch.cat([tokens[:, :kept], merged], 1), torch.cat([size[:, :kept], sizes], 1)
        assert merged.shape[1] == case["tokens_out"]
        close(merged, arrays, f"{name}:merged", spec["tolerance"])
        close(sizes, arrays, f"{name}:size", spec["tolerance"])
        # Merging unit vectors that name their token shows which tokens each result is made of.
        members = torch.eye(shape[1]).expand(shape[0], -1, -1)
        made, _ = matching.merge(members[:, first], torch.ones(shape[:2])[:, first])
        made = torch.cat([members[:, :kept], made], 1) > 0
        np.testing.assert_array_equal(made.numpy(), arrays[f"{name}:membership"] > 0, err_msg=name)


def merge_settings(merging: dict, frames: int) -> dict:
    names = ("lora_dim", "tome_r", "merge_layer", "merge_frame_num", "merge_token_proportion")
    settings = {name: merging[name] for name in names}
    settings |= {"tome_propattn": bool(merging["tome_propattn"]), "frame_pos": bool(merging["frame_pos"])}
    return settings | {"max_frames": frames}


def tempme_model(shapes: dict, settings: dict, heads: dict) -> nn.Module:
    return load(build_method("tempme", clip_of(shapes, heads), settings), shapes)


def run_layers(model: nn.Module, video: torch.Tensor, deep: torch.Tensor | None = None) -> list:
    """Tokens after every block of the tower, from the pass that the programs make."""
    found: list = []
    blocks = model.clip.visual.transformer
    inner = blocks.forward

    def forward(tokens, prompts=(), *args, **kwargs):
        return inner(tokens, [*prompts, Recorder(found)], *args, **kwargs)

    blocks.forward = forward
    try:
        model.video_tokens(video, None, deep)
    finally:
        del blocks.forward
    return found


class Recorder:
    def __init__(self, found: list):
        self.found = found

    def start(self, tokens):
        return tokens

    def before(self, layer, tokens):
        return tokens

    def merge(self, layer, tokens, keys):
        return tokens

    def after(self, layer, tokens):
        self.found.append(tokens)
        return tokens


def tempme_visual(spec, arrays, folder) -> None:
    limit = {name: spec["tolerance"][name] for name in ("rtol", "atol")}
    heads = {"vision_heads": spec["clip"]["heads"]}
    model = tempme_model(spec["state_dict"], merge_settings(spec["merging"], spec["frames"]), heads)
    video = filled(spec["inputs"]["video"])
    with torch.inference_mode():
        layers = run_layers(model, video)
        classes, _ = project_tokens(model.clip.visual, layers[-1])
        close(nn.functional.normalize(classes, dim=-1), arrays, "cls_features", limit)
        close(model.encode_video(video, torch.ones(video.shape[:2]))[:, 0], arrays, "video_feat", limit)
    counts = spec["token_counts"]
    assert [t.frames.shape[1] for t in layers] == counts["tokens_per_clip"]
    assert [t.classes for t in layers] == counts["cls_per_clip"]
    assert [t.rows for t in layers] == counts["clips_per_video"]
    assert [t.rows * t.frames.shape[1] for t in layers] == counts["tokens_per_video"]
    plan = model.plan.counts(len(layers), model.config.grid**2)
    assert [(t.rows, t.classes, t.frames.shape[1] - t.classes) for t in layers] == plan
    for number, tokens in enumerate(layers):
        name = f"layer{number}"
        close(tokens.frames.mean(-1), arrays, f"{name}_mean", limit)
        head = arrays[f"{name}_head"]
        close(tokens.frames[: head.shape[0], : head.shape[1], : head.shape[2]], arrays, f"{name}_head", limit)
        if f"{name}_size" in arrays:
            size = torch.ones(tokens.frames.shape[:2]) if tokens.size is None else tokens.size
            close(size, arrays, f"{name}_size", limit)


def tempme_text(spec, arrays, folder) -> None:
    limit = {name: spec["tolerance"][name] for name in ("rtol", "atol")}
    given, shapes = spec["clip"], spec["state_dict"]
    # These fixtures hold a text tower only: beside it stands the smallest vision tower there is.
    config = CLIPConfig(
        embed_dim=given["embed_dim"], resolution=4, patch=2, vision_width=8, vision_layers=0, vision_heads=1,
        text_width=given["width"], text_layers=given["layers"], text_heads=given["heads"],
        context_length=given["context"], vocab_size=given["vocab"],
    )  # fmt: skip
    model = build_method("tempme", CLIP(config), {"lora_dim": spec["lora_dim"], "max_frames": 1}).eval()
    weights = fill.state_dict(shapes)
    left = load_retrieval(model, weights, "the fixture", partial=True)
    assert all(entry.startswith("missing clip.visual.") for entry in left), left
    with torch.inference_mode():
        close(model.encode_text(torch.from_numpy(arrays["ids"])), arrays, "text_feat", limit)


def tempme_similarity(spec, arrays, folder) -> None:
    limit = {name: spec["tolerance"][name] for name in ("rtol", "atol")}
    model = tempme_model(spec["state_dict"], merge_settings(spec["merging"], spec["frames"]), {})
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(model.is_new(name))
    video = filled(spec["inputs"]["video"])
    mask = torch.ones(video.shape[:2])
    text, vectors = model.encode_text(torch.from_numpy(arrays["ids"])), model.encode_video(video, mask)
    logits = model.similarity(text, vectors, mask)
    loss = model.loss(logits)
    close(text, arrays, "text_feat", limit)
    close(vectors[:, 0], arrays, "video_feat", limit)
    close(logits, arrays, "similarity", limit)
    close(loss, arrays, "loss", limit)
    loss.backward()
    gradients, bounds = {n: p.grad for n, p in model.named_parameters()}, spec["tolerance"]["gradients"]
    assert {n for n in gradients if gradients[n] is not None} == set(spec["gradient_norms"])
    for name, norm in spec["gradient_norms"].items():
        np.testing.assert_allclose(gradients[name].norm().item(), norm, **bounds, err_msg=name)
    for name in (name for name in arrays if name.startswith("grad:")):
        close(gradients[name.removeprefix("grad:")], arrays, name, bounds)


# ------------------------------------------------------------------------------------------------------ together


def unified(spec, arrays, folder) -> None:
    limit = {name: spec["tolerance"][name] for name in ("rtol", "atol")}
    tower, merging = spec["tower"], spec["merging"]
    video = filled(spec["inputs"]["video"])
    deep = filled(spec["inputs"]["frame_prompts"])
    joins = {int(layer): factor for layer, factor in merging["merge"].items()}
    settings = {
        "max_frames": tower["frames"], "lora_dim": tower["lora_dim"], "temporal_prompt": "DGL", "pixel_prompt": False,
        "local_each_frame_prompt_length": tower["prompts_per_frame"],
        "global_visual_prompt_length": tower["global_prompts"], "tome_r": merging["tome_r"],
        "merge_layer": "-".join(map(str, joins)), "merge_frame_num": "-".join(map(str, joins.values())),
        "merge_token_proportion": "-".join(
            str(round(100 * merging[f"{part}_clip_fraction"])) for part in ("cross", "intra")
        ),
        "tome_propattn": merging["size_bias"], "frame_pos": merging["frame_position"],
        "adapter_width": tower["adapter_width"],
    }  # fmt: skip
    config = CLIPConfig(
        embed_dim=tower["embed_dim"], resolution=tower["resolution"], patch=tower["patch"],
        vision_width=tower["width"], vision_layers=tower["layers"], vision_heads=tower["heads"],
        text_width=64, text_layers=1, text_heads=1, context_length=8, vocab_size=16,
    )  # fmt: skip
    tensors = {
        f"clip.{name}" if name.startswith("visual.") else f"clip.visual.{name}": x
        for name, x in fill.state_dict(spec["state_dict"]).items()
    }
    for mode in spec["modes"]:
        model = build_method("unified", CLIP(config), settings | {"training_mode": mode}).eval()
        left = load_retrieval(model, tensors, "the fixture", partial=True)
        assert [entry for entry in left if "clip.visual." in entry or entry.startswith("unexpected")] == []
        with torch.inference_mode():
            layers = run_layers(model, video, deep if model.prompts else None)
            classes, global_ = project_tokens(model.clip.visual, layers[-1])
            unit = nn.functional.normalize(classes, dim=-1)
            close(unit, arrays, f"{mode}:cls", limit)
            close(READ["frame_cls_mean"](classes, global_, None), arrays, f"{mode}:cls_mean", limit)
            if f"{mode}:global" in arrays:
                close(global_, arrays, f"{mode}:global", limit)
        for number, (tokens, counts) in enumerate(zip(layers, spec["token_counts"][mode], strict=True)):
            patches = tokens.frames.shape[1] - tokens.classes - tokens.prompts
            extra = 0 if tokens.video is None else tokens.video.shape[1]
            got = {"clips": tokens.rows, "cls": tokens.classes, "prompts": tokens.prompts, "patches": patches}
            assert got | {"globals": extra} == counts, (mode, number)
            close(tokens.frames.mean(-1), arrays, f"{mode}:layer{number}_mean", limit)
            size = torch.ones(tokens.frames.shape[:2]) if tokens.size is None else tokens.size
            close(size[:, -patches:], arrays, f"{mode}:layer{number}_patch_size", limit)


RUNNERS = {
    "stop/model": stop,
    "stop/model_dgl": stop,
    "stop/model_repaired": stop_repaired,
    "tempme/bipartite": matchings,
    "tempme/visual": tempme_visual,
    "tempme/text": tempme_text,
    "tempme/similarity_loss": tempme_similarity,
    "tempme/unified_definition": unified,
}
