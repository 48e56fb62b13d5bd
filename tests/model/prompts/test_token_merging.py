"""Matching, merging and the schedule of tokens."""

import pytest
import torch

from model.backbone.blocks import Tokens
from model.prompts.token_matching import match
from model.prompts.token_merging import MergePlan, TokenMerging, suitable_joins


def naive(metric, tokens, size, count, odd_sources):
    """One row at a time, with lists."""
    sources = [n for n in range(len(tokens)) if n % 2 == int(odd_sources)]
    targets = [n for n in range(len(tokens)) if n % 2 != int(odd_sources)]
    unit = metric / metric.norm(dim=-1, keepdim=True)
    best = {s: max((float(unit[s] @ unit[t]), -t) for t in targets) for s in sources}
    going = sorted(sources, key=lambda s: -best[s][0])[:count]
    total, grown = {t: tokens[t] * size[t] for t in targets}, {t: size[t] for t in targets}
    for s in going:
        t = -best[s][1]
        total[t], grown[t] = total[t] + tokens[s] * size[s], grown[t] + size[s]
    kept = [s for s in sources if s not in going]
    values = [tokens[s] for s in kept] + [total[t] / grown[t] for t in targets]
    return torch.stack(values), torch.stack([size[s] for s in kept] + [grown[t] for t in targets])


@pytest.mark.parametrize("odd_sources", [True, False])
@pytest.mark.parametrize(("count", "length"), [(0, 6), (1, 7), (3, 7), (4, 8)])
def test_merging_is_that_of_the_naive_version(odd_sources, count, length):
    torch.manual_seed(count)
    metric, tokens = torch.randn(3, length, 5), torch.randn(3, length, 4, requires_grad=True)
    size = torch.randint(1, 5, (3, length)).float()
    merged, sizes = match(metric, count, odd_sources).merge(tokens, size)
    expected = [naive(metric[n], tokens[n], size[n], count, odd_sources) for n in range(3)]
    torch.testing.assert_close(merged, torch.stack([values for values, _ in expected]))
    torch.testing.assert_close(sizes, torch.stack([grown for _, grown in expected]))
    weight = torch.randn_like(merged)
    (own,) = torch.autograd.grad((merged * weight).sum(), tokens, retain_graph=True)
    (other,) = torch.autograd.grad((torch.stack([v for v, _ in expected]) * weight).sum(), tokens)
    torch.testing.assert_close(own, other)


def test_ties_go_to_the_first():
    matching = match(torch.ones(1, 8, 3), 2, odd_sources=True)
    assert matching.merged.tolist() == [[0, 1]] and matching.into.tolist() == [[0, 0]]


def test_more_than_half_cannot_be_merged():
    with pytest.raises(ValueError, match="4 of 7 tokens cannot be merged"):
        match(torch.ones(1, 7, 3), 4, odd_sources=True)


def published(frames=12, **changes):
    settings = {"merge_layer": "8-9-10", "merge_frame_num": "2-2-3", "proportion": "30-10"} | changes
    return MergePlan.parse(frames, 12, settings["merge_layer"], settings["merge_frame_num"], settings["proportion"])


def test_published_schedule():
    """The table of the reference, section 1.4."""
    counts = published().counts(12, 49)
    assert [clips for clips, _, _ in counts] == [12] * 8 + [6, 3, 1, 1]
    assert [c + n for _, c, n in counts] == [48, 46, 44, 42, 40, 38, 36, 34, 44, 56, 107, 97]
    large = published().counts(12, 196)
    assert [c + n for _, c, n in large] == [195, 193, 191, 189, 187, 185, 183, 181, 229, 289, 547, 493]
    inferred = MergePlan.parse(12, 12, "8-9-10", "2-2-3", "40-20", inside_frame=10).counts(12, 196)
    assert sum(inferred[-1][1:]) == 127


@pytest.mark.parametrize(
    ("frames", "layers", "joins"),
    [
        (12, 12, {8: 2, 9: 2, 10: 3}),
        (64, 12, {8: 4, 9: 4, 10: 4}),
        (6, 2, {1: 6}),
        (6, 4, {1: 2, 2: 3}),
        (8, 24, {20: 2, 21: 2, 22: 2}),
        (7, 12, {10: 7}),
        (1, 12, {}),
    ],
)
def test_joins_that_suit_the_frames(frames, layers, joins):
    assert suitable_joins(frames, layers) == joins
    assert MergePlan(frames, joins).counts(layers, 16)[-1][0] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 10}, "5 clips cannot be joined 2 by 2 in layer 9"),
        ({"merge_layer": "8-9"}, "as long as merge_frame_num"),
        ({"merge_layer": "9-8-10"}, "must rise"),
        ({"merge_layer": "8-9-12"}, "has the layers 0 to 11"),
        ({"merge_layer": "8-9-x"}, "write whole numbers with dashes"),
        ({"proportion": "30"}, "two percentages"),
        ({"proportion": "30-110"}, "between 0 and 100"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        published(**changes)


def video(frames, patches=9, classes=1, prompts=2):
    torch.manual_seed(0)
    return Tokens(torch.randn(2 * frames, classes + prompts + patches, 8), 2, classes, prompts)


def test_class_tokens_and_prompts_are_protected_and_joined_in_order():
    plan = MergePlan(4, {1: 2}, across=40, positions=False)
    tokens = video(4)
    joined = TokenMerging(plan, {}).before(1, tokens)
    both = tokens.frames.unflatten(0, (4, 2))
    assert (joined.rows, joined.classes, joined.prompts) == (2, 2, 4)
    torch.testing.assert_close(joined.frames[:, :2], both[:, :, :1].flatten(1, 2))
    torch.testing.assert_close(joined.frames[:, 2:6], both[:, :, 1:3].flatten(1, 2))
    # Prompts do not count: 2 * 10 tokens, 40 percent of them merged.
    assert joined.frames.shape[1] == 6 + 18 - 8
    assert joined.size[:, :6].eq(1).all() and joined.size[:, 6:].sum(1).eq(18).all()


def test_positions_are_added_to_class_tokens_and_patches_where_tokens_are_merged():
    tokens, position = video(4), torch.randn(1, 4, 1, 8)
    for across, added in ((40, True), (0, False)):
        plan = MergePlan(4, {1: 2}, across=across)
        without = TokenMerging(plan, {}).before(1, tokens).frames
        joined = TokenMerging(plan, {1: position}).before(1, tokens).frames
        per_clip = position[0, :, 0].unflatten(0, (2, 2)).repeat(2, 1, 1)
        torch.testing.assert_close(joined[:, :2], without[:, :2] + added * per_clip)
        torch.testing.assert_close(joined[:, 2:6], without[:, 2:6])
        assert torch.equal(joined[:, 6:], without[:, 6:]) != added


def test_a_single_frame_is_not_joined_and_a_wrong_number_is_refused():
    merging = TokenMerging(MergePlan(4, {1: 2}), {1: torch.zeros(1, 4, 1, 8)})
    single = video(1)
    assert merging.before(1, single) is single
    with pytest.raises(ValueError, match="3 clips cannot be joined 2 by 2; give 4 frames"):
        merging.before(1, video(3))
    with pytest.raises(ValueError, match="positions for 4 clips and sees 2"):
        merging.before(1, video(2))
