import pytest
import torch

from model.backbone.blocks import Block, Tokens
from model.prompts.placing import insert, remove


@pytest.fixture
def block():
    torch.manual_seed(0)
    return Block(16, 2, 32).eval()


def rows(count=3, length=5):
    return torch.randn(count, length, 16, generator=torch.Generator().manual_seed(1))


def test_vision_prompts_stand_between_class_token_and_patches():
    tokens = Tokens(rows(), 3, size=torch.full((3, 5), 2.0))
    first, second = torch.zeros(2, 16), torch.ones(3, 1, 16)
    both = insert(insert(tokens, first), second)
    assert both.prompts == 3 and both.frames.shape == (3, 8, 16)
    assert torch.equal(both.frames[:, :1], tokens.frames[:, :1])
    assert torch.equal(both.frames[:, 1:4, 0], torch.tensor([0.0, 0.0, 1.0]).expand(3, 3))
    assert both.size[0].tolist() == [2, 1, 1, 1, 2, 2, 2, 2]
    back = remove(both, 3)
    assert torch.equal(back.frames, tokens.frames) and torch.equal(back.size, tokens.size) and back.prompts == 0


def test_text_prompts_are_seen_by_all_words_and_leave_no_trace(block):
    words = rows()
    causal = torch.full((5, 5), float("-inf")).triu(1)[None, None]
    tokens = Tokens(words, 1, end=torch.tensor([4, 2, 3]), bias=causal)
    wide = insert(tokens, torch.randn(2, 16))
    seen = torch.cat([causal, torch.zeros(1, 1, 5, 2)], -1)
    got = block.attend(wide.frames, bias=wide.bias)[0][:, :5]
    torch.testing.assert_close(got, block.attend(words, wide.frames, bias=seen)[0])
    back = remove(wide, 2)
    assert torch.equal(back.frames, words) and torch.equal(back.bias, causal)


def test_text_prompts_weigh_as_much_as_live_words():
    live = torch.tensor([[1.0, 1.0, 0.0]])[:, None, None]
    tokens = insert(Tokens(rows(1, 3), 1, end=torch.tensor([1]), bias=live), torch.zeros(2, 16))
    assert tokens.bias.tolist() == [[[[1, 1, 0, 1, 1]]]]
    assert torch.equal(remove(tokens, 2).bias, live)
