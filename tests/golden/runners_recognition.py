"""Golden values of the six recognisers: features, logits, losses and gradients of the published system."""

import json

import fill
import numpy as np
import torch

from model.backbone.clip import CLIP
from model.prompts import TemporalPool
from model.recognition import METHODS, build
from pretrained.clip_weights import hugging_face_names


def close(got, arrays, name, tolerance, relative=1e-5) -> None:
    wanted = arrays[name]
    got = got.detach().numpy().reshape(wanted.shape)
    np.testing.assert_allclose(got, wanted, rtol=relative, atol=tolerance, err_msg=name)


class Scene:
    """The backbone, the classes and the video that a fixture describes."""

    def __init__(self, spec):
        heads = {f"{tower}_heads": spec[tower]["num_attention_heads"] for tower in ("vision", "text")}
        tensors = hugging_face_names(fill.state_dict(spec["clip_state_dict"]))
        self.clip = CLIP.from_state_dict(tensors, spec.get("activation", "quick_gelu"), **heads).eval()
        self.prefix, self.bos = spec.get("hand_prefix_ids", []), spec.get("bos", spec["text"]["bos_token_id"])
        self.eos = spec.get("eos", spec["text"]["eos_token_id"])
        self.classes, self.other = spec["classes"], spec.get("other_classes", {})
        given = spec["video_input"]
        self.video = torch.from_numpy(fill.inputs(given["name"], given["shape"]))

    def ids(self, classes, prefix=()):
        rows = [[self.bos, *prefix, *name, self.eos] for name in classes.values()]
        longest = max(map(len, rows))
        return torch.tensor([row + [self.eos] * (longest - len(row)) for row in rows])

    def texts(self, model, classes):
        hand = self.ids(classes, self.prefix) if model.needs_handcrafted else None
        return model.class_texts_of_ids(self.ids(classes), hand)


def recorded(name, config):
    """The fixture's settings that the method reads, and the switches for the published numbers."""
    method = METHODS[name]
    config = {key.replace("-", "_"): value for key, value in config.items()}
    config = {key: value for key, value in config.items() if key in method.keys}
    switches = {"text_path": "recorded", "summary_attention": "frame"}
    return config | {key: value for key, value in switches.items() if key in method.keys}


def recogniser(name, case, clip):
    model = build(name, clip, recorded(name, case["config"])).train()
    own = model.learner()
    assert {key: list(value.shape) for key, value in own.items()} == case["learner_state_dict"]
    assert sum(value.numel() for value in own.values()) == case["trainable"]
    model.load_learner(fill.state_dict(case["learner_state_dict"]))
    return model


def backbone(spec, arrays, folder) -> None:
    scene, tolerance = Scene(spec), spec["tolerance"]
    with torch.inference_mode():
        close(scene.clip.encode_image(scene.video.flatten(0, -4)), arrays, "image_features", tolerance)
        close(scene.clip.encode_text(scene.ids(scene.classes)), arrays, "text_features_plain", tolerance)
        hand = scene.clip.encode_text(scene.ids(scene.classes, scene.prefix))
        close(hand, arrays, "text_features_hand", tolerance)


def method(spec, arrays, folder) -> None:
    scene = Scene(json.loads((folder / "backbone.json").read_text(encoding="utf-8")))
    name, labels = spec["method"], torch.tensor(spec["labels"])
    tolerance = max(spec["tolerance"], 1e-3) if name == "vilt" else spec["tolerance"]
    for case_name, case in spec["cases"].items():
        model = recogniser(name, case, scene.clip)
        outputs(model, scene, labels, case, Case(arrays, case_name, tolerance))
    if "prompt_embeddings" in arrays:
        text_parts(model, scene, arrays, tolerance)


class Case:
    """The arrays of one case, compared by their short names where the fixture has them."""

    def __init__(self, arrays, name, tolerance):
        self.arrays, self.name, self.tolerance = arrays, name, tolerance

    def __contains__(self, short):
        return f"{self.name}__{short}" in self.arrays

    def __getitem__(self, short):
        return self.arrays[f"{self.name}__{short}"]

    def close(self, got, short, relative=1e-5):
        if short in self:
            close(got, self.arrays, f"{self.name}__{short}", self.tolerance, relative)


def outputs(model, scene, labels, case, arrays) -> None:
    texts = scene.texts(model, scene.classes)
    result = model(scene.video, texts)
    # Where the published batch reads its texts in another order, the values of single views are the right ones.
    alone = "_one_by_one" if "logits_one_by_one" in arrays else ""
    arrays.close(result.logits, f"logits{alone}")
    arrays.close(result.text, f"text_features{alone}")
    arrays.close(result.video, "video_features")
    loss = model.loss(result, labels, texts)
    arrays.close(loss, "loss")
    loss.backward()
    learner = model.learner()
    for key, parameter in learner.items():
        if f"grad__{key}" in arrays:
            arrays.close(parameter.grad, f"grad__{key}", relative=1e-4)
    for key, wanted in zip(case["gradnorm_keys"], arrays["gradnorm"], strict=True):
        norm = 0.0 if learner[key].grad is None else learner[key].grad.norm().item()
        np.testing.assert_allclose(norm, max(wanted, 0), rtol=1e-4, atol=arrays.tolerance, err_msg=key)
    with torch.inference_mode():
        if "logits_masked" in arrays:
            mask = torch.ones(scene.video.shape[:3], dtype=torch.bool)
            mask[1, :, -1] = False
            arrays.close(model(scene.video, texts, mask).logits, "logits_masked")
        if "logits_other_classes" in arrays:
            arrays.close(model(scene.video, scene.texts(model, scene.other)).logits, "logits_other_classes")


def text_parts(model, scene, arrays, tolerance) -> None:
    """Intermediate values of Video-CoOp."""
    from model.recognition.towers import live_mask

    texts = scene.texts(model, scene.classes)
    with torch.inference_mode():
        tokens = model.embed_text(texts)
        close(tokens.frames, arrays, "prompt_embeddings", tolerance)
        np.testing.assert_array_equal(live_mask(tokens).numpy(), arrays["prompt_mask"])
        close(model.raw_text(texts), arrays, "encode_texts_unnormalised", tolerance)
        features, _ = model.encode_views(scene.video.flatten(0, 1))
        close(model.frame_features(features), arrays, "frame_features", tolerance)


def published_size(spec, arrays, folder) -> None:
    scene = Scene(spec)
    for name, case in spec["cases"].items():
        model = recogniser(name, case, scene.clip)
        relative = {"relative": 1e-5} if name == "vilt" else {}
        with torch.inference_mode():
            result = model(scene.video, scene.texts(model, scene.classes))
        close(result.logits, arrays, f"{name}__logits", spec["tolerance"], **relative)
        close(result.text, arrays, f"{name}__text_features", spec["tolerance"], **relative)
        close(result.video, arrays, f"{name}__video_features", spec["tolerance"], **relative)


def pooling(item, arrays, name, tolerance, kind="attention") -> None:
    """One pooling of a `modules` fixture: `item` names input and weights, `name` the stored array."""
    frames = torch.from_numpy(fill.inputs(item["input"], item["shape"]))
    pool = TemporalPool(kind, frames.shape[-1], item.get("heads", 1))
    if kind == "attention":
        assert {key: list(value.shape) for key, value in pool.state_dict().items()} == item["state_dict"]
        pool.load_state_dict(fill.state_dict(item["state_dict"]))
    mask = torch.ones(frames.shape[:-1], dtype=torch.bool)
    mask[1, 0, -2:] = False
    with torch.inference_mode():
        close(pool(frames), arrays, name, tolerance)
        if f"{name}_keymask" in arrays:
            close(pool(frames, mask), arrays, f"{name}_keymask", tolerance)


RUNNERS = {"recognition/backbone": backbone, "recognition/vit_b16": published_size}
RUNNERS |= {f"recognition/{name}": method for name in METHODS}
