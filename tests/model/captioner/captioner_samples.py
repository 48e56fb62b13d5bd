"""Small random captioners and batches for these tests."""

import torch

from model.captioner import Captioner, CaptionerConfig

TINY = {
    "graph_width": 16,
    "visual_width": 24,
    "node_positions": False,
    "visual_feed_forward": 32,
    "heads_r2l": 8,
    "heads_l2r": 4,
    "width": 16,
    "heads": 4,
    "feed_forward": 32,
}


def tiny_captioner(
    seed: int = 0, vocab_size: int = 12, slots: int = 4, nodes_per_slot: int = 3, **changes
) -> Captioner:
    """A captioner of a few thousand parameters whose words depend visibly on what it sees."""
    torch.manual_seed(seed)
    config = CaptionerConfig.small(6, 5, vocab_size, slots, nodes_per_slot, **(TINY | changes))
    model = Captioner(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "stg_encoder.visual" in name:
                parameter.mul_(10)
            if parameter.dim() > 1 and "linear_" in name:
                parameter.mul_(2)
        model.generator.linear.weight.mul_(6)
    return model


def random_batch(seed: int, videos: int, slots: int = 4, nodes_per_slot: int = 3, rows: int = 0, dtype=torch.float32):
    """Videos of random length with some absent nodes; `rows` > 0 adds relation and object rows of widths 7 and 8."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    length = torch.randint(1, slots + 1, (videos,), generator=generator)
    slot_mask = torch.arange(slots) < length[:, None]
    node_mask = slot_mask[..., None] & (torch.rand(videos, slots, nodes_per_slot, generator=generator) < 0.8)
    batch = {
        "nodes": draw(videos, slots, nodes_per_slot, 6) * node_mask[..., None],
        "actions": draw(videos, slots, 5).abs() * slot_mask[..., None],
        "temporal": draw(videos, slots - 1, nodes_per_slot, nodes_per_slot).softmax(dim=-1),
        "slot_mask": slot_mask,
        "node_mask": node_mask,
    }
    if rows:
        for name, width in (("rel", 7), ("objects", 8)):
            count = torch.randint(1, rows + 1, (videos,), generator=generator)
            mask = torch.arange(rows) < count[:, None]
            batch |= {name: draw(videos, rows, width) * mask[..., None], f"{name.rstrip('s')}_mask": mask}
    return batch


def random_captions(seed: int, captions: int, vocab_size: int = 12, longest: int = 6) -> torch.Tensor:
    """Start token, words, end token, padding: [captions, longest + 2]."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.zeros(captions, longest + 2, dtype=torch.long)
    for row in ids:
        count = int(torch.randint(1, longest + 1, (1,), generator=generator))
        row[: count + 2] = 1
        row[1 : count + 1] = torch.randint(2, vocab_size, (count,), generator=generator)
    return ids


def one_video(batch: dict, video: int) -> dict:
    return {name: part[video : video + 1] for name, part in batch.items()}
