import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utility.vocabulary import PAD, SPECIAL, START, Vocabulary, clean, reverse, shuffled_reversals


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A foot-ball, it's FUN!", ["a", "football", "its", "fun"]),
        ("a caf\u00e9 \t dog", ["a", "caf", "dog"]),
        ("...", []),
        ("\u72ac\u304c\u8d70\u308b", []),
    ],
)
def test_clean_drops_accents_and_punctuation_without_a_blank(caption, words):
    assert clean(caption) == words


def test_a_long_caption_keeps_its_first_words_and_reversed_its_last():
    caption = " ".join(f"w{i}" for i in range(30)) + "."
    assert clean(caption, 3) == ["w0", "w1", "w2"]
    assert clean(reverse(caption), 3) == ["w29", "w28", "w27"]


def test_words_are_numbered_by_first_appearance_and_rare_ones_left_out():
    vocabulary = Vocabulary.build(["b a b", "c a", "a c"], min_count=2)
    assert vocabulary.to_list() == [*SPECIAL, "b", "a", "c"]
    assert Vocabulary.build(["b a b", "c a"], min_count=2).to_list() == [*SPECIAL, "b", "a"]
    assert vocabulary.longest == 3
    assert vocabulary.counts["a"] == 3


def test_unknown_words_are_left_out_and_rows_padded():
    vocabulary = Vocabulary.build(["a dog runs"], min_count=1)
    assert vocabulary.encode_padded(["a cat runs", "dog"], max_words=4) == [
        [START, 2, 4, START, PAD, PAD],
        [START, 3, START, PAD, PAD, PAD],
    ]


def test_decode_stops_at_the_closing_token():
    vocabulary = Vocabulary(["a", "dog"])
    assert vocabulary.decode([START, 2, 3, START, 2, PAD]) == "a dog"
    assert vocabulary.decode((2, 3)) == "a dog"
    assert vocabulary.decode([START, START, 2]) == ""
    with pytest.raises(ValueError, match="id 9 is outside the vocabulary of 4 words"):
        vocabulary.decode([9])


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_any_text_survives_the_round_trip_through_ids(captions):
    if not any(clean(text) for text in captions):
        with pytest.raises(ValueError, match="min_count"):
            Vocabulary.build(captions, min_count=1)
        return
    vocabulary = Vocabulary.build(captions, min_count=1)
    for text in captions:
        assert vocabulary.decode(vocabulary.encode(clean(text))) == " ".join(clean(text))
    assert Vocabulary.from_list(vocabulary.to_list()).index == vocabulary.index


def test_reversals_hold_every_caption_once_in_a_seeded_order():
    captions = {"a": [f"x{i} y." for i in range(8)], "b": ["one two"]}
    first, second = (shuffled_reversals(captions, random.Random(3)) for _ in range(2))
    assert first == second
    assert sorted(first["a"]) == sorted(f"y x{i}" for i in range(8))
    assert first["a"] != [f"y x{i}" for i in range(8)]


def test_broken_word_lists_are_refused():
    with pytest.raises(ValueError, match="starts with <PAD> and <S>"):
        Vocabulary.from_list(["a", "dog"])
    with pytest.raises(ValueError, match="twice"):
        Vocabulary(["a", "a"])
