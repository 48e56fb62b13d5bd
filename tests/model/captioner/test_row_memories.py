"""Relation and object rows as memory of the second decoder: any number of them, hidden where the mask says so."""

import torch
from captioner_samples import one_video, random_batch, random_captions, tiny_captioner
from hypothesis import given, settings
from hypothesis import strategies as st

ROWS = 5
MODES = [
    {"mode": "grid-rel", "rel_dim": 7, "attention": 1},
    {"mode": "grid-rel", "rel_dim": 7, "attention": 2},
    {"mode": "grid-rel", "rel_dim": 7, "attention": 3},
    {"mode": "grid-obj-rel", "rel_dim": 7, "object_dim": 8},
]
counts = st.lists(st.integers(0, ROWS), min_size=3, max_size=3)


def with_rows(batch, relations, objects):
    """The batch with so many rows of its own per video, zeros behind them."""
    found = dict(batch)
    for name, numbers in (("rel", relations), ("objects", objects)):
        mask = torch.arange(ROWS) < torch.tensor(numbers)[:, None]
        found |= {f"{name.rstrip('s')}_mask": mask, name: batch[name] * mask[..., None]}
    return found


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), mode=st.sampled_from(MODES), relations=counts, objects=counts)
@torch.no_grad()
def test_a_video_knows_its_own_rows_and_no_others(seed, mode, relations, objects):
    model = tiny_captioner(seed, **mode).double()
    drawn = random_batch(seed, 3, rows=ROWS, dtype=torch.float64)
    drawn |= {name: torch.randn_like(drawn[name]) for name in ("rel", "objects")}
    batch = with_rows(drawn, relations, objects)
    captions = random_captions(seed, 3), random_captions(seed + 1, 3)
    want = model(batch, *captions)
    assert all(values.isfinite().all() for values in want)

    hidden = {name: torch.where(batch[mask][..., None], batch[name], 9.0) for name, mask in
              (("rel", "rel_mask"), ("objects", "object_mask"))}  # fmt: skip
    torch.testing.assert_close(model(batch | hidden, *captions), want)

    for video in range(3):
        alone = model(one_video(batch, video), *(side[video : video + 1] for side in captions))
        torch.testing.assert_close(alone, tuple(values[video : video + 1] for values in want))

    l2r = model(batch | {"rel": -batch["rel"]}, *captions)[1]
    told = torch.tensor([number > 0 for number in relations])
    differs = ~torch.isclose(l2r, want[1]).flatten(1).all(dim=1)
    assert torch.equal(differs, told)
