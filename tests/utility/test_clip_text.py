import pytest

from utility.clip_text import ClipTokenizer, trim


@pytest.fixture(scope="module")
def tokenizer():
    return ClipTokenizer()


def test_rows_have_start_end_and_padding(tokenizer):
    ids, mask = tokenizer.pack(["a man is playing a guitar", ""], 10)
    assert ids.tolist() == [[49406, 320, 786, 533, 1629, 320, 5084, 49407, 0, 0], [49406, 49407] + [0] * 8]
    assert mask.sum(1).tolist() == [8, 2]


def test_a_long_text_keeps_its_end(tokenizer):
    ids, mask = tokenizer.pack(["very " * 40], 6)
    assert ids[0].tolist() == [49406, 1070, 1070, 1070, 1070, 49407]
    assert mask.all()


@pytest.mark.parametrize("marker", ["<|endoftext|>", "<|startoftext|>", "<end_of_text>", "<START_OF_TEXT>"])
def test_written_markers_are_ordinary_characters(tokenizer, marker):
    ids = tokenizer.encode(f"a {marker} cat")
    assert tokenizer.start not in ids and tokenizer.end not in ids
    assert ids[0] == 320 and ids[-1] == 2368


def test_markers_can_be_read_as_published():
    tokenizer = ClipTokenizer(read_markers=True)
    ids = tokenizer.encode("a <|ENDOFTEXT|> cat <end_of_text>")
    assert ids[:3] == [320, 49407, 2368]
    assert ids.count(49407) == 1
    assert tokenizer.decode(ids[:3]) == "a <|endoftext|>cat "


def test_decoding_returns_the_words(tokenizer):
    ids = tokenizer.encode("Zwei  GRÜNE Ringe &amp; 12 Sterne!")
    assert tokenizer.decode(ids) == "zwei grüne ringe & 1 2 sterne ! "


def test_room_for_start_and_end_is_needed(tokenizer):
    with pytest.raises(ValueError, match="at least 2"):
        tokenizer.pack(["a"], 1)


def test_trimming_cuts_nothing_but_shared_padding(tokenizer):
    ids, _ = tokenizer.pack(["a cat !", "no"], 12)
    assert trim(ids).tolist() == ids[:, :5].tolist()
    assert trim(ids[1:]).shape == (1, 3)
