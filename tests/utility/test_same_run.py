import pytest
import toy_training

from utility.same_run import differences

STORED = {
    "corpus": "a", "arguments": {"lr": 1}, "network": {"width": 4, "compat": ["x"]},
    "features": {"settings": {"backbone": {"name": "b", "hash": "1"}, "slots": 5}, "notes": {"day": 1}},
}  # fmt: skip
PARTS = ("corpus", "network", "features.settings")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"arguments": {"lr": 2}, "corpusses": 3}, []),
        ({"features": {"settings": {"backbone": {"name": "c", "hash": "1"}, "slots": 5, "new": 1}}}, []),
        ({"corpus": "b"}, ["corpus was 'a', is 'b'"]),
        ({"network": {"width": 5, "compat": ["x"]}}, ["network.width was 4, is 5"]),
        ({"network": {"width": 4, "compat": ("x",)}}, []),
        (
            {"features": {"settings": {"backbone": {"name": "b", "hash": "2"}}}},
            ["features.settings.backbone.hash was '1', is '2'", "features.settings.slots was 5, is None"],
        ),
    ],
)
def test_the_chosen_parts_are_compared(change, expected):
    assert differences(STORED, STORED | change, PARTS) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((["a", "b"], ["a", "b"]), []),
        ((["a", "b"], None), []),
        ((["a", "b"], ["a", "c"]), ["word 1 of the vocabulary was 'b', is 'c'"]),
        ((["a", "b"], ["a"]), ["the vocabulary had 2 words, has 1"]),
    ],
)
def test_vocabularies_are_compared(words, expected):
    assert differences({}, {}, (), words) == expected


def test_another_training_is_not_continued(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        toy_training.run(tmp_path, interrupt=1)
    for change, message in (({"width": 7}, "width was 6, is 7"), ({"words": ["b"]}, "word 0 .* was 'a', is 'b'")):
        with pytest.raises(ValueError, match=f"last is of another training: {message}. Continue it"):
            toy_training.run(tmp_path, resume=True, **change)
    assert toy_training.run(tmp_path, resume=True)[1]["epoch"] == 3
