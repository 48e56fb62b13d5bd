import pytest

from model.recognition.transfers import coupled_layers, default_lists, read_transfers


@pytest.mark.parametrize(
    ("layers", "text", "vision"),
    [(12, range(5), range(5, 10)), (3, [0], [1]), (2, [0], [1]), (1, [0], []), (24, range(10), range(10, 20))],
)
def test_default_layers_scale_with_the_tower(layers, text, vision):
    own = read_transfers(*default_lists(layers), layers, layers)
    assert [x.owners for x in own] == [tuple(text), tuple(vision)]
    assert [x.maps for x in own] == [tuple(vision), tuple(text)]
    assert own[0].mapped == {layer: (layer,) for layer in vision}


def test_mapped_prompts_enter_only_where_the_other_tower_uses_its_own():
    text, vision = read_transfers([[[0], []], [[1], [1]]], [[[], [0]], [[1], []]], 2, 2)
    assert text.mapped == {1: (1,)} and vision.mapped == {0: (0,)}
    text, vision = read_transfers([[[0], []], [[], []]], [[[], [0]], [[], [0]]], 2, 2)
    assert vision.maps == (0, 1) and vision.mapped == {0: (0,)}
    assert coupled_layers(text, vision) == [0, 1]


def test_empty_lists_beyond_the_tower_are_no_mistake():
    text, _ = read_transfers([[[0], []], [[], []], [[], []]], [[[], [0]]], 2, 2)
    assert text.owners == (0,)


@pytest.mark.parametrize(
    ("text", "vision", "message"),
    [
        ([[[0], []]] * 4, [[[], []]], "has prompts for layer 3, the text tower has layers 0 to 2"),
        ([[[0]]], [[[], []]], "needs two lists"),
        ([[[1], []]], [[[], []]], r"modality_transfer_text, layer 0: no prompts \[1\]; own prompts exist for layers"),
        ([[[0], []]], [[[], [2]]], r"modality_transfer_vision, layer 0: no prompts \[2\]; maps exist for layers \[0\]"),
    ],
)
def test_lists_that_cannot_be_are_refused(text, vision, message):
    with pytest.raises(ValueError, match=message):
        read_transfers(text, vision, 3, 3)
