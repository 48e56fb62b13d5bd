"""Golden values of the whole captioner: forward pass, losses, published search."""

import re

import numpy as np
import torch
from captioner_inputs import batch_of, captioner_of, close, mode_of
from torch.nn import functional as F

from model.captioner.captioner import START, Captioner
from model.captioner.loss import caption_loss
from model.captioner.reference_search import search_video

PUBLISHED = ("embedding_scale", "pad_edges", "relation_sum", "loss_mean")
"""Compat items of the fixtures' forward passes; "positions" comes on top except where a fixture says so."""


@torch.no_grad()
def vcmodel(spec, arrays, folder) -> None:
    names = [f"{spec['input_prefix'].partition('<')[0]}{b}" for b in range(spec["batch"])]
    rows = {}
    for description, counts in spec["feature_rows"].items():
        suffix = re.search(r"<v>\.(\w+)", description)[1]
        rows["objects" if description.startswith("obj") else "rel"] = (suffix, counts)
    batch = batch_of(spec, names, spec["real_frames"], rows)
    np.testing.assert_array_equal(batch["slot_mask"], arrays["video_mask"] != 0)
    r2l, l2r = (torch.from_numpy(arrays[f"{side}_captions"]) for side in ("r2l", "l2r"))

    model = captioner_of(spec, (*PUBLISHED, "positions"))
    memories = model.encode(batch)
    close(memories.r2l, arrays["r2l_memory"], 2e-5)
    close(memories.l2r, arrays["l2r_memory"], 2e-5)
    hidden = model.decode(memories, r2l[:, :-1], l2r[:, :-1])
    logprobs = model(batch, r2l, l2r)
    for side, states, values in zip(("r2l", "l2r"), hidden, logprobs, strict=True):
        close(states, arrays[f"{side}_hidden"], 2e-5, name=side)
        close(values, arrays[f"{side}_logprob"], 5e-5, name=side)
    check_losses(model, logprobs, r2l, l2r, arrays["losses"], 1e-6, 1e-5)

    model = captioner_of(spec, PUBLISHED)
    for side, values in zip(("r2l", "l2r"), model(batch, r2l, l2r), strict=True):
        close(values, arrays[f"{side}_logprob_timepos"], 5e-5, name=side)


def check_losses(model, logprobs, r2l, l2r, want, atol: float, rtol: float) -> None:
    config = model.config
    total, weight, sums = caption_loss(
        *logprobs, r2l, l2r, config.label_smoothing, config.l2r_weight, count_padding=True
    )
    means = [sums[side][0] / sums[side][1] for side in ("r2l", "l2r")]
    close(torch.stack([*means, total / weight]), want, atol, rtol)


def padded_words(hypotheses, width: int) -> np.ndarray:
    return np.array([[*item.words, *[-1] * (width - len(item.words))] for item in hypotheses])


def greedy(model: Captioner, batch: dict, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """R2L ids and hidden states of a greedy pass that never stops."""
    video, _ = model.video_memories(model.encode(batch))
    ids = torch.full((1, 1), START)
    for _ in range(steps):
        hidden = model.r2l_hidden(ids, video, mask_padding=False)
        ids = torch.cat([ids, model.generator(hidden[:, -1]).argmax(dim=-1, keepdim=True)], dim=1)
    return ids, hidden


@torch.no_grad()
def decode(spec, arrays, folder) -> None:
    model = captioner_of(spec, (*PUBLISHED, "positions"))
    beams = [int(key.removeprefix("l2r_ids_beam")) for key in arrays.files if key.startswith("l2r_ids_beam")]
    assert beams
    for v in range(spec["videos"]):
        name = f"{spec['input_prefix'].partition('<')[0]}{v}"
        rows = {"rel": ("rel", [spec["rel_rows"][v]])} if mode_of(spec)[0] == "grid-rel" else {}
        batch = batch_of(spec, [name], [spec["real_frames"][v]], rows)
        for beam in beams:
            l2r, r2l = search_video(model, batch, beam, spec["max_len"])
            for side, result in (("l2r", l2r), ("r2l", r2l)):
                want = arrays[f"{side}_ids_beam{beam}"][v]
                np.testing.assert_array_equal(padded_words(result.hypotheses, want.shape[1]), want, f"{name} {side}")
                scores = [item.score for item in result.hypotheses]
                np.testing.assert_allclose(scores, arrays[f"{side}_score_beam{beam}"][v], atol=1e-3, rtol=0)
            memory = arrays[f"r2l_last_memory_beam{beam}"][v]
            shape = arrays[f"r2l_last_rows_and_length_beam{beam}"][v]
            np.testing.assert_array_equal(r2l.last_hidden.shape[:2], shape)
            close(F.pad(r2l.last_hidden[0], (0, 0, 0, len(memory) - shape[1])), memory, 5e-5, name=name)
        if "r2l_greedy_ids" in arrays:
            ids, hidden = greedy(model, batch, spec["max_len"] + 1)
            np.testing.assert_array_equal(ids[0], arrays["r2l_greedy_ids"][v])
            close(hidden[0], arrays["r2l_greedy_hidden"][v], 5e-5, name=name)


def statistics(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([x.mean(), x.std(), x.abs().max(), x.norm()])


@torch.no_grad()
def published(spec, arrays, folder) -> None:
    model = captioner_of(spec, (*PUBLISHED, "positions"))
    if "parameters" in spec:
        assert sum(parameter.numel() for parameter in model.parameters()) == spec["parameters"]
    rows = {"rel": ("rel", [spec["rel_rows"]])} if mode_of(spec)[0] == "grid-rel" else {}
    batch = batch_of(spec, [spec["input_prefix"]], [spec["real_frames"]], rows)
    r2l, l2r = (torch.from_numpy(arrays[f"{side}_captions"]) for side in ("r2l", "l2r"))

    graph = model.stg_encoder.graph(batch["nodes"], batch["actions"], batch["temporal"], batch["node_mask"])[0]
    rows, channels = arrays["transc_slice"].shape
    every = graph.flatten(0, 1)[:: graph.shape[0] * graph.shape[1] // rows, :channels]
    close(every, arrays["transc_slice"], 2e-4)
    close(statistics(graph), arrays["transc_stats"], 2e-4, 1e-4)
    memories = model.encode(batch)
    for side, memory in (("r2l", memories.r2l[0]), ("l2r", memories.l2r[0])):
        rows, channels = arrays[f"{side}_memory_slice"].shape
        close(memory[:rows, :channels], arrays[f"{side}_memory_slice"], 2e-4, name=side)
        close(statistics(memory), arrays[f"{side}_memory_stats"], 2e-4, 1e-4, name=side)
    logprobs = model(batch, r2l, l2r)
    for side, values in zip(("r2l", "l2r"), logprobs, strict=True):
        first = arrays[f"{side}_logprob_slice"]
        close(values[0, :, : first.shape[1]], first, 1e-3, name=side)
        want, want_ids = arrays[f"{side}_logprob_top5"], arrays[f"{side}_logprob_top5_ids"]
        best, ids = values[0].topk(want.shape[1])
        close(best, want, 1e-3, name=side)
        near = np.abs(np.diff(want, axis=1)) <= 1e-3  # a tie may swap places
        exact = ~(np.pad(near, ((0, 0), (1, 0))) | np.pad(near, ((0, 0), (0, 1))))
        np.testing.assert_array_equal(ids.numpy()[exact], want_ids[exact], side)
    check_losses(model, logprobs, r2l, l2r, arrays["losses"], 0, 1e-4)

    beam = spec["beam"]
    for side, result in zip(("l2r", "r2l"), search_video(model, batch, beam, spec["max_len"]), strict=True):
        want = arrays[f"{side}_ids_beam{beam}"]
        np.testing.assert_array_equal(padded_words(result.hypotheses, want.shape[1]), want, side)
        close(torch.tensor([item.score for item in result.hypotheses]), arrays[f"{side}_score_beam{beam}"], 1e-3)
    ids, _ = greedy(model, batch, spec["max_len"] + 1)
    np.testing.assert_array_equal(ids[0], arrays["r2l_greedy_ids"])


RUNNERS = {"captioner/vcmodel": vcmodel, "captioner/decode": decode, "captioner/published": published}
