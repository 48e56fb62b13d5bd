"""Runner of `captioner/captions`: clean-up, vocabulary, ids, and the shuffled right-to-left captions."""

from __future__ import annotations

import random
import re

from utility.vocabulary import Vocabulary, shuffled_reversals

PUBLISHED_SEED = 904666


def run_captions(spec, arrays, folder):
    seed = re.search(r"random\.seed\((\d+)\)", spec.get("what", ""))
    seed = int(spec.get("seed", seed.group(1) if seed else PUBLISHED_SEED))
    max_words = spec["max_caption_len"]
    texts = [text for captions in spec["captions"].values() for text in captions]
    vocabulary = Vocabulary.build(texts, spec["min_count"], max_words)
    for corpus, expected in spec["outputs"].items():
        assert vocabulary.index == expected["word2idx"], corpus
        assert len(vocabulary) == expected["n_vocabs"]
        assert len(vocabulary.counts) == expected["n_vocabs_untrimmed"]
        assert sum(vocabulary.counts.values()) == expected["n_words_untrimmed"]
        assert sum(vocabulary.counts[word] for word in vocabulary.words) == expected["n_words"]
        assert vocabulary.longest == expected["max_sentence_len"]
        reversals = shuffled_reversals(spec["captions"], random.Random(seed))
        length = vocabulary.longest + 2
        pairs = []
        for name, captions in spec["captions"].items():
            l2r = vocabulary.encode_padded(captions, max_words, length)
            r2l = vocabulary.encode_padded(reversals[name], max_words, length)
            pairs += [
                {
                    "video": name,
                    "r2l_text": text,
                    "r2l_ids": right,
                    "l2r_ids": left,
                    "reference": vocabulary.decode(left),
                }
                for text, right, left in zip(reversals[name], r2l, l2r, strict=True)
            ]
        assert len(pairs) == len(expected["pairs"])
        for pair, wanted in zip(pairs, expected["pairs"], strict=True):
            clip = wanted["video"]
            assert clip == pair["video"] or re.fullmatch(re.escape(pair["video"]) + r"_\d+_\d+", clip), clip
            assert {**pair, "video": clip} == wanted


RUNNERS = {"captioner/captions": run_captions}
