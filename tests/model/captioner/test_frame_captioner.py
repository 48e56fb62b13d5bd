"""Nodes and edges made inside the captioner: as the stages make them, differentiable, in passes of any size."""

import pytest
import torch

from graphs.temporal import temporal_similarity
from model.backbone.clip import CLIP, CLIPConfig, small_config
from model.captioner import Captioner, CaptionerConfig
from model.captioner.frame_captioner import FrameCaptioner
from model.captioner.reference_search import reference_search_both
from model.captioner.tuning import BACKBONE, choose_tuned, parameter_groups
from model.retrieval.methods import build_method

TOWER = CLIPConfig(24, 32, 8, 32, 3, 2, 32, 1, 2, context_length=8, vocab_size=50)
STEM = small_config(embed_dim=24, resolution=32, vision_width=32, vision_layers=2, stem=(8, 16), patch=8, vocab_size=50)
BATCH, SLOTS, NODES = 2, 3, 4
METHODS = {
    "stop": {}, "linear stop": {"shared_latent_space": "linear", "text_prompt_length": 8}, "dgl": {},
    "stop without pixels": {"pixel_prompt": False, "visual_output_type": "average_frame_cls_token"},
    "tempme": {"lora_dim": 2}, "unified": {"lora_dim": 2},
}  # fmt: skip
KINDS = [(name, kind) for name in METHODS for kind in ("prompts", "lora")]
TUNABLE = [(name, kind) for name, kind in KINDS if name == "unified" or (kind == "lora") == (name == "tempme")]


def backbone(name="unified", tower=TOWER):
    """A network of which every new parameter has an effect."""
    torch.manual_seed(0)
    method = name.split()[0] if name.split()[0] != "linear" else "stop"
    model = build_method(method, CLIP(tower), {"max_frames": 4, "regions": 2} | METHODS[name]).eval()
    for parameter in model.parameters():
        if not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def captioner(network, chunk=256):
    torch.manual_seed(1)
    config = CaptionerConfig.small(24, 6, 12, slots=SLOTS, nodes_per_slot=NODES)
    model = FrameCaptioner(config, network, lambda x: x.float() / 255 - 0.5, temporal_similarity, chunk)
    return model


def batch(edge=32):
    draw = torch.Generator().manual_seed(2)
    slot_mask = torch.tensor([[True] * 3, [True, True, False]])
    return {
        "tiles": torch.randint(0, 256, (BATCH, SLOTS, NODES, 3, edge, edge), generator=draw, dtype=torch.uint8),
        "actions": torch.rand(BATCH, SLOTS, 6, generator=draw),
        "slot_mask": slot_mask,
        "node_mask": slot_mask[..., None].expand(-1, -1, NODES).clone(),
    }


def captions():
    rows = torch.tensor([[1, 4, 5, 6, 1], [1, 7, 8, 1, 0]])
    return rows, rows.flip(0)


def gradients(model):
    total, weight, _ = model.loss(batch(), *captions())
    (total / weight).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("name", "kind"), TUNABLE)
def test_gradients_reach_the_captioner_and_the_chosen_part_only(name, kind):
    network = backbone(name)
    chosen = choose_tuned(network, kind)
    model = captioner(network).train()
    plain = {name for name, p in Captioner(model.config).named_parameters() if p.requires_grad}
    found = gradients(model)
    assert set(found) == plain | {BACKBONE + name for name in chosen}
    assert all(("TVPt_LoRA" in name) == (kind == "lora") for name in chosen)
    assert any(found[BACKBONE + name].any() for name in chosen)
    groups = parameter_groups(model, 0.1, backbone_lr=0.5)
    rated = {id(p) for group in groups[2:] for p in group["params"]}
    assert rated == {id(dict(network.named_parameters())[name]) for name in chosen}
    assert {group["lr"] for group in groups[2:]} == {0.5} and all("lr" not in group for group in groups[:2])


def test_a_network_without_such_parameters_is_refused():
    with pytest.raises(ValueError, match=r"no prompts that a picture's feature depends on; --tune lora\?"):
        choose_tuned(backbone("tempme"), "prompts")
    with pytest.raises(ValueError, match="no lora"):
        choose_tuned(backbone("stop"), "lora")
    with pytest.raises(ValueError, match="unknown kind"):
        choose_tuned(backbone(), "both")


def test_nodes_and_edges_are_those_of_the_stages():
    network = backbone()
    model, data = captioner(network).eval(), batch()
    graph = model.graph(data)
    for video in range(BATCH):
        for slot in range(SLOTS):
            if not data["slot_mask"][video, slot]:
                assert not graph["nodes"][video, slot].any()
                continue
            for node in range(NODES):
                with torch.no_grad():
                    pixels = data["tiles"][video, slot, node][None].float() / 255 - 0.5
                    expected = network.encode_image(pixels)[0].half().float()
                torch.testing.assert_close(graph["nodes"][video, slot, node], expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(graph["temporal"], temporal_similarity(graph["nodes"], data["node_mask"]))
    assert set(graph) == {"nodes", "temporal", "actions", "slot_mask", "node_mask"}
    plain = Captioner(model.config).eval()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith(BACKBONE)})
    for one, other in zip(model(data, *captions()), plain(graph, *captions()), strict=True):
        torch.testing.assert_close(one, other)


def test_the_published_search_reads_frames_too():
    model, data = captioner(backbone()).eval(), batch()
    with torch.no_grad():
        graph = model.graph(data)
    assert reference_search_both(model, data, 3, 4) == reference_search_both(model, graph, 3, 4)


@pytest.mark.parametrize("kind", ["prompts", "lora"])
def test_passes_of_any_size_give_the_same_gradient(kind):
    found = []
    for chunk in (256, 7):
        network = backbone()
        choose_tuned(network, kind)
        found.append(gradients(captioner(network, chunk).eval()))
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-3, atol=1e-5)


def test_edges_carry_a_gradient_to_the_backbone():
    network = backbone()
    choose_tuned(network, "lora")
    model = captioner(network)
    (model.graph(batch())["temporal"] ** 2).sum().backward()
    assert network.clip.visual.transformer.resblocks[0].attn.TVPt_LoRA_b.grad.any()


def test_batch_norms_keep_their_statistics_and_a_frozen_backbone_computes_as_an_extractor():
    network = backbone(tower=STEM)
    choose_tuned(network, "prompts")
    model, data = captioner(network), batch()
    before = {name: value.clone() for name, value in network.named_buffers()}
    model.train()
    drawn = [model.nodes(data["tiles"], data["slot_mask"]) for _ in range(2)]
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())
    assert not torch.equal(*drawn)  # the dropout of the pixel prompts
    choose_tuned(network, "prompts", frozen=True)
    model.train()
    drawn = [model.nodes(data["tiles"], data["slot_mask"]) for _ in range(2)]
    assert torch.equal(*drawn) and not drawn[0].requires_grad and model.training
    assert torch.equal(drawn[0], model.eval().nodes(data["tiles"], data["slot_mask"]))


def test_sizes_that_do_not_fit_are_refused():
    config = CaptionerConfig.small(25, 6, 12, slots=SLOTS, nodes_per_slot=NODES)
    with pytest.raises(ValueError, match="node_dim is 25, but the backbone makes nodes of 24"):
        FrameCaptioner(config, backbone(), None, None)
    with pytest.raises(ValueError, match="0 tiles per pass"):
        captioner(backbone(), chunk=0)
