"""Flags of the captioner's training that no other test shows to act."""

import pytest
import torch
from caption_corpus import make_corpus
from no_java import without_java

import dataset.graph_features
import graphs.captions
import main
from utility.caption_scores import CaptionScorer
from utility.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A function from flags to what became of three epochs, at most, of which none is better than the first."""
    corpus = make_corpus(tmp_path_factory.mktemp("syn"), count=20)
    words = ["--model_name", f"{corpus.name}_GBased", "--do_train", "--data_root", str(corpus), "--tokenizer", "nltk"]
    words += ["--device", "cpu", "--batch_size", "18", "--captions_per_video", "3", "--epochs", "3", "--beam", "2"]
    search, features = graphs.captions.search_both, dataset.graph_features.GraphFeatures

    def run(*flags):
        beams, cached = set(), set()

        def watched(model, batch, beam, *more):
            beams.add(beam)
            return search(model, batch, beam, *more)

        class Watched(features):
            def __init__(self, *arguments, **options):
                super().__init__(*arguments, **options)
                cached.add(self._cache is not None)

        output = tmp_path_factory.mktemp("run")
        with pytest.MonkeyPatch.context() as patch, without_java():
            patch.setattr(graphs.captions, "search_both", watched)
            patch.setattr(dataset.graph_features, "GraphFeatures", Watched)
            patch.setattr(CaptionScorer, "score", lambda *_: {"CIDEr": 1.0, "BLEU_4": 1.0, "notes": []})
            assert main.main([*words, "--output_dir", str(output), *flags]) == 0
        last = load_checkpoint(output / "last")
        matrices = torch.cat([value.flatten() for value in last.tensors.values() if value.ndim == 2])
        return {"epochs": last.metrics["epoch"], "beams": beams, "cached": cached, "matrices": matrices}

    return run


@pytest.fixture(scope="module")
def plain(trained):
    return trained()


@pytest.mark.parametrize("flags", ["--weight_decay 5", "--warmup 0.9", "--clip_norm 0.01"])
def test_flags_of_the_optimiser_act(trained, plain, flags):
    found = trained(*flags.split())["matrices"]
    assert not torch.allclose(found, plain["matrices"], rtol=0, atol=1e-5)
    if "decay" in flags:
        assert found.norm() < plain["matrices"].norm()


@pytest.mark.parametrize(
    ("flags", "part", "usual", "expected"),
    [
        ("--patience 1", "epochs", 3, 2),
        ("--val_beam 3", "beams", {1, 2}, {2, 3}),
        ("--cache_gb 0", "cached", {True}, {False}),
    ],
)
def test_patience_beam_of_the_validation_and_cache_act(trained, plain, flags, part, usual, expected):
    found = trained(*flags.split())
    assert (plain[part], found[part]) == (usual, expected)
    if part != "epochs":
        assert torch.equal(found["matrices"], plain["matrices"])
