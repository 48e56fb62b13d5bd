"""Golden values of CLIP's towers."""

import fill
import numpy as np
import torch

from model.backbone.clip import CLIP


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


RUNNERS = {"clip4clip/towers": towers}
