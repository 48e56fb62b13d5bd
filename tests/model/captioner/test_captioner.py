"""The whole captioner: masks, batching, caption grouping, modes, switches, loss."""

import pytest
import torch
from captioner_samples import one_video, random_batch, random_captions, tiny_captioner

from model.captioner import (
    COMPAT,
    Captioner,
    CaptionerConfig,
    config_from_state_dict,
)

MODES = {
    "grid": {},
    "grid-rel": {"mode": "grid-rel", "rel_dim": 7},
    "grid-rel-2": {"mode": "grid-rel", "rel_dim": 7, "attention": 2},
    "grid-rel-3": {"mode": "grid-rel", "rel_dim": 7, "attention": 3},
    "grid-obj-rel": {"mode": "grid-obj-rel", "rel_dim": 7, "object_dim": 8},
}


def logprobs_of(model: Captioner, batch: dict, captions: int = 3, **arguments) -> torch.Tensor:
    with torch.no_grad():
        return torch.stack(model(batch, random_captions(1, captions), random_captions(2, captions), **arguments))


@pytest.mark.parametrize("mode", MODES)
def test_batch_equals_one_by_one(mode):
    model = tiny_captioner(**MODES[mode]).double()
    batch = random_batch(0, 3, rows=4, dtype=torch.float64)
    r2l, l2r = random_captions(1, 3), random_captions(2, 3)
    with torch.no_grad():
        together = torch.stack(model(batch, r2l, l2r))
        for video in range(3):
            alone = torch.stack(model(one_video(batch, video), r2l[video : video + 1], l2r[video : video + 1]))
            torch.testing.assert_close(alone[:, 0], together[:, video], rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["grid", "grid-obj-rel"])
def test_grouped_captions_equal_repeated_videos(mode):
    model = tiny_captioner(**MODES[mode]).double()
    batch = random_batch(5, 2, rows=4, dtype=torch.float64)
    caption_video = torch.tensor([1, 0, 1, 1])
    grouped = logprobs_of(model, batch, 4, caption_video=caption_video)
    repeated = logprobs_of(model, {name: part[caption_video] for name, part in batch.items()}, 4)
    torch.testing.assert_close(grouped, repeated, rtol=0, atol=1e-12)


def test_grouped_captions_have_the_gradients_of_repeated_videos():
    model = tiny_captioner().double()
    batch = random_batch(5, 2, dtype=torch.float64)
    caption_video = torch.tensor([1, 0, 1])
    gradients = []
    for videos, index in ((batch, caption_video), ({name: part[caption_video] for name, part in batch.items()}, None)):
        total, weight, _ = model.loss(videos, random_captions(1, 3), random_captions(2, 3), index)
        model.zero_grad()
        (total / weight).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("mode", MODES)
def test_every_trained_parameter_gets_a_gradient(mode):
    """Else distributed training waits for parameters that never report."""
    model = tiny_captioner(**MODES[mode])
    total, weight, _ = model.loss(random_batch(0, 3, rows=4), random_captions(1, 3), random_captions(2, 3))
    (total / weight).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("mode", MODES)
def test_what_is_masked_does_not_act(mode):
    model = tiny_captioner(**MODES[mode])
    batch = random_batch(7, 3, rows=4)
    before = logprobs_of(model, batch)
    changed = dict(batch)
    masks = {"nodes": "node_mask", "actions": "slot_mask", "rel": "rel_mask", "objects": "object_mask"}
    for name, mask in masks.items():
        changed[name] = torch.where(batch[mask][..., None], batch[name], torch.full_like(batch[name], 3.0))
    assert not torch.equal(changed["nodes"], batch["nodes"])
    torch.testing.assert_close(logprobs_of(model, changed), before)
    for name in ("nodes", "actions", "temporal", *(("rel",) if mode != "grid" else ())):
        assert not torch.allclose(logprobs_of(model, batch | {name: batch[name].roll(1, -1)}), before, atol=1e-5), name


def test_later_words_and_padding_do_not_act_on_earlier_ones():
    model = tiny_captioner()
    batch, r2l, l2r = random_batch(0, 1), torch.tensor([[1, 5, 6, 1, 0, 0]]), torch.tensor([[1, 4, 3, 2, 1, 0]])
    with torch.no_grad():
        before = model(batch, r2l, l2r)
        later = model(batch, r2l, torch.tensor([[1, 4, 7, 8, 9, 1]]))
        longer = model(batch, torch.nn.functional.pad(r2l, (0, 3)), l2r)
    torch.testing.assert_close(later[1][:, :2], before[1][:, :2])
    assert not torch.allclose(later[1][:, 2], before[1][:, 2])
    torch.testing.assert_close(longer[1], before[1])


def test_l2r_reads_the_r2l_states_and_r2l_does_not_read_l2r():
    model = tiny_captioner()
    batch, l2r = random_batch(0, 2), random_captions(2, 2)
    with torch.no_grad():
        first, second = (model(batch, random_captions(seed, 2), l2r) for seed in (1, 3))
        other = model(batch, random_captions(1, 2), random_captions(4, 2))
    assert not torch.allclose(first[1], second[1])
    assert torch.equal(first[0], other[0])


def test_order_of_words_and_of_slots_acts():
    model = tiny_captioner()
    batch = random_batch(11, 1) | {"slot_mask": torch.ones(1, 4, dtype=torch.bool)}
    ids = model.embed(torch.tensor([[2, 2, 2]]))
    assert not torch.allclose(ids[:, 0], ids[:, 1])
    torch.testing.assert_close(model.embed(torch.tensor([[2]]), start=2)[:, 0], ids[:, 2])
    swapped = batch | {name: batch[name].flip(1) for name in ("nodes", "actions", "node_mask", "temporal")}
    assert not torch.allclose(logprobs_of(model, batch, 1), logprobs_of(model, swapped, 1))


def test_words_and_positions_start_with_the_same_size():
    model = Captioner(CaptionerConfig.small(6, 5, 500))
    tokens = model.trg_embed(torch.arange(500)).detach()
    assert tokens.pow(2).mean().sqrt() == pytest.approx(1, abs=0.1)
    assert model.pos_embed.pe.pow(2).mean().sqrt() == pytest.approx(0.707, abs=0.01)


@pytest.mark.parametrize("item", [item for item in COMPAT if item not in ("beam", "r2l_memory")])
def test_each_compat_item_changes_the_result(item):
    mode = MODES["grid-rel"]
    batch = random_batch(3, 3, rows=4)
    batch["rel"], batch["rel_mask"] = batch["rel"][:, :4], batch["rel_mask"][:, :4]
    r2l, l2r = random_captions(1, 3), random_captions(2, 3)
    model, published = tiny_captioner(**mode), tiny_captioner(**mode, compat=(item,))
    published.load_state_dict(model.state_dict())
    with torch.no_grad():
        each = (model.train(), published.train())  # `graph_offset` acts in training only; there is no dropout here
        losses = [total / weight for total, weight, _ in (one.loss(batch, r2l, l2r) for one in each)]
    assert abs(losses[0] - losses[1]) > 1e-6


def test_graphs_of_a_batch_overlap_in_training_only():
    model, batch = tiny_captioner(compat=("graph_offset",)), random_batch(3, 3)
    plain = tiny_captioner()
    plain.load_state_dict(model.state_dict())
    want = logprobs_of(plain, batch)
    torch.testing.assert_close(logprobs_of(model.eval(), batch), want)
    assert not torch.allclose(logprobs_of(model.train(), batch), want, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"aggregation": "add"},
        {"project_edge_dim": 3},
        {"last_average": True},
        {"no_beta": True},
        {"no_skip": True},
        {"attention": 2},
        {"attention": 3},
        {"label_smoothing": 0.0},
        {"l2r_weight": 1.0},
        {"heads_r2l": 2},
        {"heads_l2r": 2},
        {"graph_heads": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_setting_changes_the_loss(change):
    batch, captions = random_batch(3, 3, rows=4), (random_captions(1, 3), random_captions(2, 3))
    plain, other = tiny_captioner(**MODES["grid-rel"]), tiny_captioner(**(MODES["grid-rel"] | change))
    shared = {name: part for name, part in plain.state_dict().items() if name in other.state_dict()}
    fitting = {name: part for name, part in shared.items() if part.shape == other.state_dict()[name].shape}
    other.load_state_dict(fitting, strict=False)
    with torch.no_grad():
        losses = [total / weight for total, weight, _ in (model.loss(batch, *captions) for model in (plain, other))]
    assert abs(losses[0] - losses[1]) > 1e-6


def test_a_video_without_any_slot_gives_finite_numbers():
    model = tiny_captioner()
    batch = random_batch(0, 2)
    batch["slot_mask"] = torch.zeros_like(batch["slot_mask"])
    assert logprobs_of(model, batch, 2).isfinite().all()


def test_bfloat16_autocast_stays_close_and_scores_are_float32():
    model, batch = tiny_captioner(), random_batch(0, 3)
    want = logprobs_of(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        got = logprobs_of(model, batch)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.exp(), want.exp(), rtol=0, atol=0.1)


@pytest.mark.parametrize("std", [0.02, 0.2])
def test_position_std_is_the_initial_size_of_the_slot_positions(std):
    model = Captioner(CaptionerConfig.small(6, 5, 9, position_std=std))
    for encoder in (model.stg_encoder, model.stg_encoder_big):
        weight = encoder.stg_encoder.visual.embeddings.position_embeddings.weight
        assert weight.std().item() == pytest.approx(std, rel=0.1)


def test_a_few_steps_lower_the_loss():
    model = tiny_captioner().train()
    batch, r2l, l2r = random_batch(0, 3), random_captions(1, 3), random_captions(2, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        total, weight, _ = model.loss(batch, r2l, l2r)
        optimizer.zero_grad()
        (total / weight).backward()
        optimizer.step()
        losses.append((total / weight).item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "objects"}, "known are: grid, grid-rel, grid-obj-rel"),
        ({"attention": 4}, "allowed are 1, 2 and 3"),
        ({"attention": 2}, "has no effect in mode 'grid'"),
        ({"mode": "grid-rel"}, "needs rel_dim"),
        ({"mode": "grid-obj-rel", "rel_dim": 3}, "needs object_dim"),
        ({"width": 130}, "width 130 is not a multiple of heads 4"),
        ({"aggregation": "max"}, "'mean' and 'add'"),
        ({"compat": ("position",)}, "unknown compat item position"),
        ({"slots": 40, "visual_positions": 32}, "raise visual_positions"),
        ({"vocab_size": 2}, "at least one word"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        CaptionerConfig.small(**({"node_dim": 6, "action_dim": 5, "vocab_size": 9} | changes))


def test_wrong_features_are_refused():
    model, batch = tiny_captioner(**MODES["grid-rel"]), random_batch(0, 2, rows=4)
    with pytest.raises(ValueError, match="nodes are 7 wide, but this captioner was built for 6"):
        model.encode(batch | {"nodes": torch.zeros(2, 4, 3, 7)})
    with pytest.raises(ValueError, match="needs 'rel' in the batch"):
        model.encode(random_batch(0, 2))


def test_compiles_as_one_graph():
    model, batch = tiny_captioner(), random_batch(0, 3)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    want = logprobs_of(model, batch)
    with torch.no_grad():
        got = torch.stack(compiled(batch, random_captions(1, 3), random_captions(2, 3)))
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("mode", MODES)
def test_config_is_read_off_the_state_dict(mode):
    config = tiny_captioner(**MODES[mode], project_edge_dim=3, last_average=True, no_beta=True).config
    untold = {"heads_r2l": 8, "heads_l2r": 4, "heads": 4, "slots": 4, "nodes_per_slot": 3}
    untold |= {"dropout": 0.0, "position_std": 0.2, "attention": config.attention}
    assert config_from_state_dict(Captioner(config).state_dict(), **untold) == config


def test_tiles_have_a_place_only_where_they_are_given_one():
    """Two tiles change places in every slot, and their edges with them: without places nothing shows."""
    batch = random_batch(3, 3)
    order = torch.tensor([1, 0, 2])
    swapped = batch | {
        "nodes": batch["nodes"][:, :, order],
        "node_mask": batch["node_mask"][:, :, order],
        "temporal": batch["temporal"][:, :, order][..., order],
    }
    for places in (False, True):
        model = tiny_captioner(node_positions=places).eval()
        same = torch.allclose(logprobs_of(model, batch), logprobs_of(model, swapped), atol=1e-5)
        assert same is not places
        assert config_from_state_dict(model.state_dict(), heads_r2l=8, heads_l2r=4, heads=4).node_positions is places


def test_objects_have_a_place_only_where_they_are_given_one():
    batch = random_batch(3, 3)
    boxes = torch.rand(2, *batch["nodes"].shape[:3], 4, generator=torch.Generator().manual_seed(0))
    for places in (False, True):
        model = tiny_captioner(box_positions=places).eval()
        here, there = (logprobs_of(model, batch | {"boxes": each}) for each in boxes)
        assert torch.allclose(here, there, atol=1e-5) is not places
        assert config_from_state_dict(model.state_dict(), heads_r2l=8, heads_l2r=4, heads=4).box_positions is places
    with pytest.raises(ValueError, match="the place of its nodes needs 'boxes' in the batch"):
        model.encode(batch)


def test_boxes_of_absent_objects_do_not_count():
    model, batch = tiny_captioner(box_positions=True).eval(), random_batch(4, 3)
    absent = ~batch["node_mask"][..., None]
    assert absent.any()
    boxes = torch.rand(*batch["nodes"].shape[:3], 4, generator=torch.Generator().manual_seed(0))
    zeroed = batch | {"boxes": boxes.masked_fill(absent, 0)}
    torch.testing.assert_close(logprobs_of(model, batch | {"boxes": boxes}), logprobs_of(model, zeroed))


def test_parameters_of_something_else_are_refused():
    with pytest.raises(ValueError, match=r"not the parameters of a captioner: stg_encoder.transc.lp.weight is missing"):
        config_from_state_dict({"weight": torch.zeros(1)})


def test_config_round_trip():
    config = CaptionerConfig.small(6, 5, 9, compat="reference", mode="grid-rel", rel_dim=4)
    assert set(COMPAT) < set(config.compat)
    assert CaptionerConfig.from_dict(config.to_dict()) == config
    own = CaptionerConfig.small(6, 5, 9, compat=("pad_edges",)).to_dict()
    assert CaptionerConfig.from_dict(own, ["loss_mean"]).compat == ("pad_edges", "loss_mean")
    with pytest.raises(ValueError, match="unknown captioner settings widht"):
        CaptionerConfig.from_dict({"widht": 3})
