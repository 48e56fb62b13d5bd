"""Golden values of CLIP4Clip's metrics and of its optimiser."""

import fill
import numpy as np
import torch

from utility.bert_adam import BertAdam
from utility.retrieval_metrics import group_maximum, ranks, retrieval_scores, scores
from utility.schedules import SCHEDULES

NAMES = {"R1": "R@1", "R5": "R@5", "R10": "R@10", "MedianR": "MdR", "MeanR": "MnR"}


def metrics(spec, arrays, folder) -> None:
    def check(got, expected, where):
        for name, own in NAMES.items():
            np.testing.assert_allclose(got[own], expected[name], atol=1e-4, err_msg=f"{where} {name}")

    sim = arrays["sim"]
    results = retrieval_scores(sim, np.arange(len(sim)))
    for way, matrix in (("t2v", sim), ("v2t", sim.T)):
        check(results[way], spec["single"][way], f"single {way}")
        rank, ties = ranks(matrix, np.arange(len(sim)))
        assert (rank - 1).tolist() == spec["single"][way]["cols"] and not ties

    multi, owner = (
        arrays["multi_sim"],
        np.repeat(np.arange(len(spec["multi"]["group_sizes"])), spec["multi"]["group_sizes"]),
    )
    assert spec["multi"]["cut_off_points"] == np.cumsum(spec["multi"]["group_sizes"]).tolist()
    results = retrieval_scores(multi, owner)
    for way in ("t2v", "v2t"):
        check(results[way], spec["multi"][way], f"multi {way}")
    rank, _ = ranks(multi, owner)
    np.testing.assert_allclose(rank.std(), spec["multi"]["t2v"]["Std_Rank"], atol=1e-4)
    rank, _ = ranks(group_maximum(multi, owner).T, np.arange(multi.shape[1]))
    assert (rank - 1).tolist() == spec["multi"]["v2t"]["cols"]

    # The published ranks of tied queries are several; ours is one of them, the last.
    ties = arrays["ties_sim"]
    for way, matrix in (("t2v", ties), ("v2t", ties.T)):
        rank, tied = ranks(matrix, np.arange(len(ties)))
        assert tied > 0 and len(rank) == len(ties) < len(spec["ties"][way]["cols"])
        assert set((rank - 1).tolist()) <= set(spec["ties"][way]["cols"])
        assert scores(rank)["MnR"] == rank.mean()


def bert_adam(spec, arrays, folder) -> None:
    config, inputs = spec["config"], spec["inputs"]
    assert config["schedule"] == "warmup_cosine"
    parameters = {
        name: torch.nn.Parameter(torch.from_numpy(fill.inputs(inputs[name]["name"], inputs[name]["shape"])))
        for name in ("w", "b")
    }
    groups = [
        {"params": [parameters[g["param"]]], "lr": g["lr"], "weight_decay": g["weight_decay"]} for g in config["groups"]
    ]
    optimizer = BertAdam(
        groups, betas=(config["b1"], config["b2"]), eps=config["eps"], tensor_norm=config["max_grad_norm"]
    )
    schedule = SCHEDULES["clip4clip_cosine"](optimizer, config["t_total"], config["warmup"])
    stem = inputs["w"]["name"].rpartition("_")[0]
    for step in range(len(arrays["w"])):
        parameters["w"].grad = torch.from_numpy(fill.inputs(f"{stem}_gw{step}", inputs["w"]["shape"]))
        parameters["b"].grad = torch.from_numpy(0.1 * fill.inputs(f"{stem}_gb{step}", inputs["b"]["shape"]))
        optimizer.step()
        schedule.step()
        for name, parameter in parameters.items():
            np.testing.assert_allclose(
                parameter.detach(), arrays[name][step], **spec["tolerance"], err_msg=f"{name} {step}"
            )
        rates = [group["lr"] for group in optimizer.param_groups]
        np.testing.assert_allclose(rates, arrays["lr_after_step"][step], **spec["tolerance"])


RUNNERS = {"clip4clip/metrics": metrics, "clip4clip/bert_adam": bert_adam}
