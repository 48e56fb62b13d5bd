"""Golden values around STOP's networks: re-ranking, learning rates, frames."""

import numpy as np
import torch

from utility.retrieval_rerank import dual_softmax, qb_norm
from utility.sampling import segment_frames
from utility.schedules import warmup_cosine


def rerank(spec, arrays, folder):
    config, test = spec["config"], arrays["test"]
    assert test.argmax(1).tolist() == spec["argmax_before"]
    normed, rows = qb_norm(test, arrays["bank"], config["k"], config["beta"], config["theta"])
    assert rows.tolist() == spec["rows_changed_by_qb_norm"]
    dual = dual_softmax(test)
    for got, name, best in (
        (normed, "qb_norm", spec["argmax_after_qb"]),
        (dual, "dual_softmax", spec["argmax_after_dual_softmax"]),
    ):
        np.testing.assert_allclose(got, arrays[name], rtol=1e-4, err_msg=name)
        assert got.argmax(1).tolist() == best, name
        assert np.array_equal(got.argsort(1, kind="stable"), arrays[name].argsort(1, kind="stable")), name


def lr_schedule(spec, arrays, folder):
    config = spec["config"]
    assert config["slow_start_lr"] == config["end_lr"]
    groups = [
        {
            "params": [torch.nn.Parameter(torch.zeros(1))],
            "lr": config["init_lr"] * group["lr_mult"],
            "weight_decay": config["weight_decay"] * group["decay_mult"],
        }
        for group in config["groups"]
    ]
    optimizer = torch.optim.AdamW(groups)
    total = config["total_steps"]
    schedule = warmup_cosine(optimizer, total, config["init_lr"], config["warmup_proportion"], config["slow_start_lr"])
    for step in range(total):
        if str(step) in spec["rows"]:
            rates = [group["lr"] for group in optimizer.param_groups]
            decays = [group["weight_decay"] for group in optimizer.param_groups]
            np.testing.assert_allclose(rates + decays, spec["rows"][str(step)], rtol=1e-6, err_msg=f"step {step}")
        optimizer.step()
        schedule.step()


def frame_sampling(spec, arrays, folder):
    np.random.seed(spec["numpy_legacy_seed"])
    for case in spec["cases"]:
        count, length = case["num_frames"], case["clip_length"]
        assert segment_frames(count, length).tolist() == case["uniform"] == case["segments_no_shift"], case
        real = min(count, length)
        assert case["mask_length"] == real
        # Matched in distribution: every draw lies in its segment, and all of a segment is drawn in the end.
        draws = np.stack([segment_frames(count, length, random=True) for _ in range(400)])
        expected = np.array(case["segments_random"])
        if count <= length:
            assert (draws == expected).all(), case
            continue
        start, each = np.arange(length) * (count // length), count // length
        for frames in (draws, expected[None]):
            assert ((frames >= start) & (frames < start + each)).all(), case
        assert (draws - start).min() == 0 and (draws - start).max() == each - 1


RUNNERS = {"stop/rerank": rerank, "stop/lr_schedule": lr_schedule, "stop/frame_sampling": frame_sampling}
