"""What is measured as the published formulation reproduces the published system's recorded outputs, or is not timed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from model.captioner.slot_edges import expand_edges
from scripts.benchmarks.published import PublishedCaptioner, PublishedTransC

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"


class NotPublished(RuntimeError):
    """The slow side is not what was published."""


def fixtures(kind: str) -> Iterator[tuple[str, dict, Path]]:
    """(name, JSON, path of the arrays) of every fixture of a kind.

    Raises:
        NotPublished: there is none.
    """
    found = False
    for path in sorted((GOLDEN / kind.partition("/")[0]).glob("*.json")):
        spec = json.loads(path.read_text(encoding="utf-8"))
        if spec.get("kind") == kind:
            found = True
            yield path.stem, spec, path.with_suffix(".npz")
    if not found:
        raise NotPublished(f"no fixture of kind {kind} below {GOLDEN}: run the benchmark from a checkout with tests/")


def with_inputs() -> None:
    """Makes the fixtures' deterministic weights and inputs importable."""
    if not (GOLDEN / "fill.py").is_file():
        raise NotPublished(f"{GOLDEN} is missing: run the benchmark from a checkout with tests/")
    if str(GOLDEN) not in sys.path:
        sys.path.insert(0, str(GOLDEN))


@torch.no_grad()
def graph_network(small: bool) -> list[str]:
    """The edge-list graph network against fixtures `transc`."""
    with_inputs()
    import captioner_inputs
    import runners_captioner

    proved = []
    for name, spec, path in fixtures("captioner/transc"):
        config = spec["config"]
        options = runners_captioner.transc_options(config)
        network = PublishedTransC(runners_captioner.transc_of(config, spec["shapes"], **options)).eval()
        with np.load(path) as arrays:
            for graph, size in spec["graphs"].items():
                want, slots = arrays[f"{graph}_out"], size.get("of", size["frames"])
                sizes = (size["frames"], slots, len(want) // slots, config["node_feat_dim"], config["edge_dim"])
                batch = captioner_inputs.compact_graph(graph, *sizes)
                edges = expand_edges(batch["actions"], batch["temporal"], batch["node_mask"])
                agree(name, network(batch["nodes"].flatten(0, 2), *edges), want, 1e-5)
        proved.append(name)
    return proved


@torch.no_grad()
def search(small: bool) -> list[str]:
    """Edge-list encoding and uncached search against fixtures `decode` and, unless small, the one of full size."""
    with_inputs()
    import captioner_inputs
    import runners_captioner_model

    proved = []
    for kind in ("captioner/decode",) if small else ("captioner/decode", "captioner/published"):
        for name, spec, path in fixtures(kind):
            model = captioner_inputs.captioner_of(spec, (*runners_captioner_model.PUBLISHED, "positions"))
            published = PublishedCaptioner(model)
            several = "videos" in spec
            prefix = spec["input_prefix"].partition("<")[0]
            for v in range(spec.get("videos", 1)):
                frames, rows = spec["real_frames"], {}
                if captioner_inputs.mode_of(spec)[0] == "grid-rel":
                    rows = {"rel": ("rel", [spec["rel_rows"][v] if several else spec["rel_rows"]])}
                video = [f"{prefix}{v}" if several else prefix], [frames[v] if several else frames]
                batch = captioner_inputs.batch_of(spec, *video, rows)
                edges = expand_edges(batch["actions"], batch["temporal"], batch["node_mask"], pad_edges=True)
                slot_mask = batch["slot_mask"][0]
                r2l, l2r = published.encode(batch["nodes"].flatten(0, 2), *edges, slot_mask)
                if rows:
                    l2r = l2r + model.encoder(model.rel_src_embed(batch["rel"]), batch["rel_mask"])
                with np.load(path) as arrays:
                    keys = [key.removeprefix("l2r_ids_") for key in arrays.files if key.startswith("l2r_ids_")]
                    for key in keys:
                        beam = int(key.removeprefix("beam"))
                        found = published.search(r2l, l2r, slot_mask, beam, spec["max_len"])
                        for side, result in zip(("l2r", "r2l"), found, strict=True):
                            want, scores = arrays[f"{side}_ids_{key}"], arrays[f"{side}_score_{key}"]
                            want, scores = (want[v], scores[v]) if several else (want, scores)
                            words = [row + [-1] * (want.shape[1] - len(row)) for row in result.words]
                            agree(name, torch.tensor(words), want, 0)
                            agree(name, torch.tensor(result.scores), scores, 1e-3)
            proved.append(name)
    return proved


def training(small: bool) -> list[str]:
    """The forward pass and loss of `Captioner` with one caption per video against fixtures `vcmodel`."""
    with_inputs()
    import runners_captioner_model

    return accepted("captioner/vcmodel", runners_captioner_model.vcmodel)


def accepted(kind: str, runner: Callable[[dict, Mapping[str, np.ndarray], Path], None]) -> list[str]:
    """Names of the fixtures of a kind, which the golden tests' runner accepts.

    Raises:
        NotPublished: it does not.
    """
    proved = []
    for name, spec, path in fixtures(kind):
        with np.load(path) as arrays:
            try:
                runner(spec, arrays, path.parent)
            except AssertionError as error:
                raise NotPublished(f"the published formulation does not reproduce {name}.json: {error}") from error
        proved.append(name)
    return proved


def agree(name: str, got: torch.Tensor, want: np.ndarray, tolerance: float) -> None:
    """Raises NotPublished unless all values are within the tolerance."""
    if got.shape != want.shape or (np.abs(got.numpy() - want) > tolerance).any():
        raise NotPublished(
            f"the published formulation of the benchmark does not reproduce {name}.json; it is not timed. "
            "The versions last tested together are in constraints.txt"
        )


PROOFS: dict[str, Callable[[bool], list[str]]] = {
    "graph_network": graph_network,
    "search": search,
    "training": training,
}
