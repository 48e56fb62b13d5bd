"""Batched, cached search against a naive one, and the published search against its description."""

import pytest
import torch
from captioner_samples import one_video, random_batch, tiny_captioner
from hypothesis import given, settings
from hypothesis import strategies as st

from model.captioner import PAD, START, search, search_both
from model.captioner.hypothesis import closed_input
from model.captioner.reference_search import reference_search_both, search_video


def naive_beam(score_of, beam: int, max_words: int, penalty: float) -> list[tuple[list[int], float]]:
    """One video, no cache: [(words, log-probability)], best first. `score_of` maps a prefix to next-word scores."""
    live, done = [([], 0.0)], []
    for step in range(max_words + 1):
        candidates = []
        for words, total in live:
            for word, score in enumerate(score_of([START, *words]).tolist()):
                is_end = word == START
                if word != PAD and not (is_end and step == 0) and (is_end or step < max_words):
                    candidates.append((words, word, total + score))
        candidates.sort(key=lambda item: -item[2])
        done += [(words, total) for words, word, total in candidates[:beam] if word == START]
        done = sorted(done, key=lambda item: -item[1] / (len(item[0]) + 1) ** penalty)[:beam]
        live = [([*words, word], total) for words, word, total in candidates if word != START][:beam]
        if not live:
            break
        best = live[0][1] / (max_words + 1) ** penalty
        if len(done) == beam and best <= done[-1][1] / (len(done[-1][0]) + 1) ** penalty:
            break
    return done


@torch.no_grad()
def naive_search(model, batch, beam: int, max_words: int, penalty: float, memories: int = 1):
    """Both directions of one video, whole prefixes through the teacher-forced decoders."""
    penalty = penalty if beam > 1 else 0.0
    r2l_video, l2r_video = model.video_memories(model.encode(batch))

    def r2l_scores(prefix):
        return model.generator(model.r2l_hidden(torch.tensor([prefix]), r2l_video)[0, -1])

    r2l = naive_beam(r2l_scores, beam, max_words, penalty)
    states = [model.r2l_hidden(torch.tensor([[START, *words, START]]), r2l_video) for words, _ in r2l[:memories]]
    states = torch.cat(states, dim=1)
    context = model.r2l_memory(states, torch.ones(states.shape[:2], dtype=torch.bool))

    def l2r_scores(prefix):
        return model.generator(model.l2r_hidden(torch.tensor([prefix]), l2r_video, context)[0, -1])

    return naive_beam(l2r_scores, beam, max_words, penalty), r2l


def assert_same(found, want):
    assert [list(item.words) for item in found] == [words for words, _ in want]
    assert [item.log_probability for item in found] == pytest.approx([total for _, total in want], abs=1e-4)


MODES = [
    {},
    {"mode": "grid-rel", "rel_dim": 7},
    {"mode": "grid-rel", "rel_dim": 7, "attention": 2},
    {"mode": "grid-rel", "rel_dim": 7, "attention": 3},
    {"mode": "grid-obj-rel", "rel_dim": 7, "object_dim": 8},
]


@settings(max_examples=16, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    beam=st.integers(1, 4),
    max_words=st.integers(1, 6),
    penalty=st.sampled_from([0.0, 0.7, 1.5]),
    vocab_size=st.integers(3, 9),
    mode=st.sampled_from(MODES),
)
def test_cached_search_equals_naive_search(seed, beam, max_words, penalty, vocab_size, mode):
    # float64, so that rounding cannot swap two words
    model = tiny_captioner(seed, vocab_size, **mode).double()
    with torch.no_grad():
        model.generator.linear.bias[START] += seed % 4
    batch = random_batch(seed, 4, rows=3, dtype=torch.float64)
    memories = min(beam, 1 + seed % 2)
    found = search_both(model, batch, beam, max_words, penalty, n_best=beam, r2l_hypotheses=memories)
    for video in range(4):
        l2r, r2l = naive_search(model, one_video(batch, video), beam, max_words, penalty, memories)
        assert_same(found.r2l[video], r2l)
        assert_same(found.l2r[video], l2r)


def test_cached_search_in_float32():
    model, batch = tiny_captioner(1, 30), random_batch(1, 5)
    found = search_both(model, batch, beam=3, max_words=8, length_penalty=0.7, n_best=3)
    for video in range(5):
        l2r, r2l = naive_search(model, one_video(batch, video), 3, 8, 0.7)
        assert_same(found.l2r[video], l2r)
        assert_same(found.r2l[video], r2l)


def test_videos_that_end_early_leave_the_others_alone():
    model, batch = tiny_captioner(9, 20).double(), random_batch(9, 12, dtype=torch.float64)
    with torch.no_grad():
        model.generator.linear.bias[START] += 5
    together = search(model, batch, beam=3, max_words=12, n_best=3)
    assert len({len(item[0].words) for item in together}) > 1
    for video in range(12):
        alone = search(model, one_video(batch, video), beam=3, max_words=12, n_best=3)[0]
        assert [item.words for item in alone] == [item.words for item in together[video]]


@torch.no_grad()
def test_beam_one_is_greedy():
    model, batch = tiny_captioner(3, 20).double(), random_batch(3, 4, dtype=torch.float64)
    found = search_both(model, batch, beam=1, max_words=7, length_penalty=2.0)
    for video in range(4):
        memory, _ = model.video_memories(model.encode(one_video(batch, video)))
        words = []
        while len(words) < 7:
            scores = model.generator(model.r2l_hidden(torch.tensor([[START, *words]]), memory)[0, -1])
            scores[[PAD] if words else [PAD, START]] = -torch.inf
            if scores.argmax() == START:
                break
            words.append(int(scores.argmax()))
        assert list(found.r2l[video][0].words) == words


def test_captions_have_at_least_one_word_and_at_most_the_limit():
    model, batch = tiny_captioner(4), random_batch(4, 6)
    with torch.no_grad():
        model.generator.linear.bias[PAD] = 50.0
        for bias, length in ((40.0, 1), (-40.0, 5)):
            model.generator.linear.bias[START] = bias
            result = search_both(model, batch, beam=4, max_words=5, n_best=4)
            for hypotheses in (*result.l2r, *result.r2l):
                assert len(hypotheses[0].words) == length
                assert all(1 <= len(item.words) <= 5 and not {PAD, START} & set(item.words) for item in hypotheses)


def test_length_penalty_prefers_longer_captions():
    model, batch = tiny_captioner(5, 20), random_batch(5, 8)
    with torch.no_grad():
        model.generator.linear.bias[START] += 4
    mean_length = [
        sum(len(item[0].words) for item in search(model, batch, 4, 10, penalty)) / 8 for penalty in (0.0, 2.0)
    ]
    assert mean_length[1] > mean_length[0]


def test_wider_beams_find_better_right_to_left_captions():
    model, batch = tiny_captioner(6, 20), random_batch(6, 12)
    totals = [sum(item[0].log_probability for item in search_both(model, batch, beam, 8).r2l) for beam in (1, 6)]
    assert totals[1] > totals[0]


def test_hypotheses_come_best_first_with_their_scores():
    model, batch = tiny_captioner(7), random_batch(7, 3)
    for hypotheses in search(model, batch, beam=4, max_words=6, length_penalty=0.5, n_best=4):
        assert len({item.words for item in hypotheses}) == len(hypotheses)
        assert [item.score for item in hypotheses] == sorted((item.score for item in hypotheses), reverse=True)
        for item in hypotheses:
            assert item.score == pytest.approx(item.log_probability / (len(item.words) + 1) ** 0.5, rel=1e-5)


def test_search_in_bfloat16_has_float32_scores():
    model, batch = tiny_captioner(7, 20), random_batch(7, 4)
    want = search(model, batch, beam=2, max_words=5)
    with torch.autocast("cpu", torch.bfloat16):
        found = search(model, batch, beam=2, max_words=5)
    for ours, theirs in zip(found, want, strict=True):
        assert ours[0].log_probability == pytest.approx(theirs[0].log_probability, abs=0.2)


def test_search_leaves_training_mode_as_it_was():
    model = tiny_captioner(0, dropout=0.5).train()
    first, second = (search(model, random_batch(0, 2), 2, 5) for _ in range(2))
    assert first == second and model.training


def test_closed_input_has_the_end_token_as_in_training():
    words = torch.tensor([[5, 6, 0, 0], [0, 0, 0, 0], [7, 8, 9, 0]])
    assert closed_input(words).tolist() == [[1, 5, 6, 1, 0], [1, 1, 0, 0, 0], [1, 7, 8, 9, 1]]


def test_compat_items_choose_the_published_search():
    model, batch = tiny_captioner(8, 20), random_batch(8, 4)
    sound = search_both(model, batch, 3, 6, n_best=3)
    results = {}
    for compat in (("beam",), ("r2l_memory",), ("beam", "r2l_memory")):
        model.config.compat = compat
        results[compat] = search_both(model, batch, 3, 6, n_best=3)
        assert results[compat] != sound
    assert results["beam", "r2l_memory"] == reference_search_both(model, batch, 3, 6, n_best=3)
    assert results["beam", "r2l_memory"].r2l == results[("beam",)].r2l
    assert results["beam", "r2l_memory"].l2r != results[("beam",)].l2r
    assert results[("r2l_memory",)].r2l == sound.r2l
    model.config.compat = ("positions",)
    with pytest.raises(ValueError, match="add compat item 'beam'"):
        search(model, batch)


def test_last_live_memory_is_what_the_decoder_saw_last():
    """With beam 1 both searches run the same R2L steps, so that the switch must give the same captions in both."""
    model, batch = tiny_captioner(10, 20).double(), random_batch(10, 12, dtype=torch.float64)
    with torch.no_grad():
        model.generator.linear.bias[START] += 2
    model.config.compat = ("r2l_memory",)
    found = search_both(model, batch, 1, 30)
    published = reference_search_both(model, batch, 1, 30)
    ended = 0
    for ours, theirs, r2l_ours, r2l_theirs in zip(found.l2r, published.l2r, found.r2l, published.r2l, strict=True):
        ended += len(r2l_ours[0].words) < 30
        if r2l_ours[0].words == r2l_theirs[0].words and len(theirs[0].words) <= 30 and theirs[0].words:
            assert ours[0].words == theirs[0].words
    assert ended


def test_published_beam_shrinks_and_may_return_nothing():
    model, batch = tiny_captioner(10), random_batch(10, 1)
    with torch.no_grad():
        model.generator.linear.bias[START] = 40.0
        l2r, _ = search_video(model, batch, beam=3, max_words=5)
    assert l2r.hypotheses[0].words == () and len(l2r.hypotheses) == 3
    with torch.no_grad():
        model.generator.linear.bias[START] = -40.0
        l2r, r2l = search_video(model, batch, beam=3, max_words=5)
    assert {len(item.words) for item in l2r.hypotheses} == {6}
    assert r2l.last_hidden.shape[:2] == (3, 6)


@pytest.mark.parametrize(
    "numbers", [{"beam": 0}, {"max_words": 0}, {"n_best": 3, "beam": 2}, {"length_penalty": -1.0}], ids=str
)
def test_wrong_numbers_are_refused(numbers):
    with pytest.raises(ValueError, match="at most the beam"):
        search(tiny_captioner(), random_batch(0, 1), **numbers)
