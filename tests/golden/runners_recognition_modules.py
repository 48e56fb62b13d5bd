"""Golden values of what surrounds the recognisers: losses, calibration, mixing, views, crops, splits, rates, pooling,
attention rollout.
"""

import re

import fill
import numpy as np
import torch
from runners_recognition import pooling

from dataset.action_lists import ucf101_group
from dataset.action_split import few_shot, group_split
from model.recognition.objective import recognition_loss
from model.recognition.rollout import rollout
from utility.calibration import calibration, softmax
from utility.schedules import epoch_cosine
from utility.video_mix import Box, mix, mixed_label, spatial_box
from utility.video_views import spatial_crops, temporal_views

CALL = r"inputs\('(\w+)', ?\(([\d, ]+)\)\)"


def described(text: str) -> np.ndarray:
    """The array that words such as "3*inputs('name',(6,5))" mean."""
    name, shape = re.search(CALL, text).groups()
    factor = re.search(r"([\d.]+) ?\* ?inputs", text)
    return float(factor[1] if factor else 1) * fill.inputs(name, [int(n) for n in shape.split(",") if n.strip()])


def losses(item, arrays, tolerance) -> None:
    logits, labels = torch.from_numpy(described(item["logits"])).float(), torch.tensor(item["labels"])
    low, high = map(float, re.search(r"([\d.]+)\.\.([\d.]+)", item["soft"]).groups())
    share = torch.linspace(low, high, len(labels))[:, None]
    first, second = (torch.nn.functional.one_hot(torch.tensor(item[k]), logits.shape[1]) for k in ("labels", "labels2"))
    soft = share * first + (1 - share) * second
    cosine = recognition_loss(logits, soft, "cosine-similarity")
    by_name = {
        "cross entropy hard": recognition_loss(logits, labels),
        "cross entropy soft labels": recognition_loss(logits, soft),
        "KL with soft-maxed targets (original quirk)": recognition_loss(logits, soft, "kl-divergence"),
        "negative mean cosine similarity": cosine,
        "1 - mean cosine similarity": 1 + cosine,
    }
    got = [by_name[name].item() for name in item["order"]]
    np.testing.assert_allclose(got, arrays["losses"], atol=tolerance, rtol=1e-5)


def calibrated(item, arrays, tolerance) -> None:
    probabilities = softmax(described(item["probs"]))
    name, count, classes = re.search(r"tokens\('(\w+)', ?\((\d+),\), ?(\d+)\)", item["labels"]).groups()
    labels = fill.tokens(name, (int(count),), int(classes))
    labels[::2] = probabilities.argmax(1)[::2]
    found = calibration(probabilities, labels, item["bins"])
    np.testing.assert_allclose([found[key] for key in item["order"]], arrays["calibration"], atol=tolerance, rtol=1e-5)


def mixture(name, item, arrays, tolerance) -> None:
    inside, outside = (torch.from_numpy(fill.inputs(item[key], item["shape"])) for key in "AB")
    box = Box(*map(tuple, item["box_tyx"]))
    if item.get("draws"):
        draws, (_, frames, _, height, width) = item["draws"], item["shape"]
        assert spatial_box(draws["area"], draws["cx"], draws["cy"], frames, height, width) == box
    mixed, share = mix(inside, outside, box)
    label = mixed_label(item["labelA"], item["labelB"], share, item["num_classes"])
    np.testing.assert_allclose(share, item["weight_of_A"], atol=tolerance)
    np.testing.assert_allclose(mixed[:, :, :1].numpy(), arrays[f"{name}_x"], atol=tolerance)
    np.testing.assert_allclose(label.numpy(), arrays[f"{name}_y"], atol=tolerance)


def views(arrays) -> None:
    for name in (key for key in arrays if key.startswith("views_")):
        count, frames, parts = map(int, re.fullmatch(r"views_(\d+)_(\d+)x(\d+)", name).groups())
        np.testing.assert_array_equal(temporal_views(count, frames, parts)[0], arrays[name], err_msg=name)


def crops(item, arrays, tolerance) -> None:
    height, width = item["frame"]
    frame = (1000 * torch.arange(height)[:, None] + torch.arange(width)).float().expand(1, 3, height, width)
    for name in (key for key in arrays if key.startswith("crops_")):
        squares = spatial_crops(frame, item["size"], int(name.removeprefix("crops_")))
        np.testing.assert_allclose(squares[:, 0, 0, 0, 0].numpy(), arrays[name], atol=tolerance, err_msg=name)


def held_out(item) -> None:
    lines = item["lines"]
    labels = [int(line.split()[1]) for line in lines]
    groups = [ucf101_group(line.split()[0]) for line in lines]
    kept, held = group_split(lines, labels, groups, item["val_ratio"], item["seed"])
    assert held == item["val"]
    assert sorted(kept + held) == sorted(lines)


def shots(item) -> None:
    labels, first = item["labels"], None
    for key, wanted in item.items():
        if found := re.fullmatch(r"K(\d+)_skip(\d+)", key):
            assert few_shot(labels, int(found[1]), int(found[2])) == wanted, key
        elif found := re.fullmatch(r"K_train(\d+)", key):
            first = int(found[1])
            assert few_shot(labels, first) == wanted, key
        elif found := re.fullmatch(r"K_val(\d+)", key):
            assert few_shot(labels, int(found[1]), first) == wanted, key


def rates(item, arrays, tolerance) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=item["lr"])
    schedule = epoch_cosine(optimizer, item["epochs"], 2, item["lr"], item["eta_min"])
    got = []
    for _ in range(item["epochs"]):
        got.append(optimizer.param_groups[0]["lr"])
        for _ in range(2):
            optimizer.step()
            schedule.step()
    np.testing.assert_allclose(got, arrays["lr"], rtol=1e-6, atol=tolerance * item["lr"])


def rolled_out(item, arrays, tolerance) -> None:
    layers = int(re.search(r"(\d+) layers", item["attentions"])[1])
    name, shape = re.search(r"inputs\('(\w+)<i>', ?\(([\d, ]+)\)\)", item["attentions"]).groups()
    shape = [int(n) for n in shape.split(",")]
    weights = [torch.from_numpy(fill.inputs(f"{name}{k}", shape)).float().softmax(-1) for k in range(layers)]
    for key in (key for key in arrays if key.startswith("rollout_")):
        # Weighing a frame's map by one number, as cls_weighted does, is undone when its largest value becomes 1.
        kind = key.removeprefix("rollout_").replace("cls_weighted", "full")
        got = rollout(weights, kind, recorded=True).numpy().reshape(arrays[key].shape)
        np.testing.assert_allclose(got, arrays[key], atol=tolerance, err_msg=key)


def modules(spec, arrays, folder) -> None:
    items, tolerance = spec["items"], spec["tolerance"]
    pools = {name: item for name, item in items.items() if name.startswith("attnpool")}
    for name, item in pools.items():
        pooling(item, arrays, name, tolerance)
    for name, kind in (("meanpool", "mean"), ("maxpool", "max")):
        if name in arrays and pools:
            pooling(next(iter(pools.values())), arrays, name, tolerance, kind)
    losses(items["losses"], arrays, tolerance)
    calibrated(items["calibration"], arrays, tolerance)
    for name, item in items.items():
        if name.startswith("mix_"):
            mixture(name, item, arrays, tolerance)
    views(arrays)
    crops(items["crops_n"], arrays, tolerance)
    held_out(items["group_split"])
    shots(items["few_shot"])
    rates(items["lr"], arrays, tolerance)
    if "rollout" in items:
        rolled_out(items["rollout"], arrays, tolerance)


RUNNERS = {"recognition/modules": modules}
