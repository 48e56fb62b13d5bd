import json
import sys

import pytest
from colour_clips import COLOURS, make_colour_corpus
from launch import ROOT, launch

import train_unified_model as program
from dataset.method_settings import SMALL_TOWER, MethodArguments, with_defaults
from dataset.retrieval_settings import RetrievalArguments
from pretrained.backbones import load_backbone
from utility.checkpoint import load_checkpoint

TOWER = [
    "--backbone", "small", "--resolution", "16", "--patch", "8", "--stem", "8", "--vision_width", "32",
    "--vision_layers", "1", "--text_width", "32", "--text_layers", "1", "--embed_dim", "32", "--cache_size", "24",
]  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = make_colour_corpus(tmp_path_factory.mktemp("colours"))
    (root / "videos" / "clip0.mp4").write_bytes(b"broken")
    return root


def words(corpus, output, *more):
    common = [
        "--method",
        "clip4clip",
        "--data_root",
        corpus,
        "--output_dir",
        output,
        "--device",
        "cpu",
        "--batch_size",
        "8",
        "--max_words",
        "8",
    ]
    return list(map(str, [*common, *TOWER, *more]))


def run(capsys, *argv):
    status = program.main(list(argv))
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return json.loads(captured.out) if captured.out else None, captured.err


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("run")
    assert program.main(words(corpus, output, "--epochs", "20", "--lr", "3e-3", "--eval_epochs", "10")) == 0
    return output


def test_colours_are_found_by_their_names(trained, corpus, capsys):
    results = json.loads((trained / "test_retrieval.json").read_text())
    assert results["videos"] == results["texts"] == len(COLOURS)
    assert results["t2v"]["R@1"] >= 80 and results["v2t"]["R@1"] >= 80
    again, _ = run(capsys, *words(corpus, trained, "--do_eval"))
    assert again == results
    train, errors = run(capsys, *words(corpus, trained, "--do_eval", "--eval_split", "train"))
    assert train["videos"] == 3 * len(COLOURS) - 1
    assert "clip0.mp4: open" in errors and "clip0" in train["unreadable"]


def test_a_run_is_a_backbone_that_knows_what_it_saw(trained, corpus):
    backbone = load_backbone(trained)
    splits = json.loads((corpus / "metadata" / "captions.json").read_text())["videos"]
    seen = {video["video_id"] for video in splits if video["split"] == "train"} - {"clip0"}
    assert set(backbone.trained_on) == seen
    assert backbone.resolution == 16 and backbone.model.config.stem == (8,) and backbone.tag == trained.name
    config = load_checkpoint(trained / "best").config
    assert config["sampling"]["frames"] == 6 and config["arguments"]["epochs"] == 20
    assert config["preprocessing"]["size"] == 16 and config["method"] == "clip4clip"


def test_a_run_starts_from_an_earlier_one(trained, corpus, tmp_path, capsys):
    argv = words(corpus, tmp_path, "--epochs", "1", "--lr", "1e-9", "--max_frames", "2")
    sizes = argv.index("--resolution")
    argv[sizes : argv.index("--cache_size")] = []
    argv[argv.index("small")] = str(trained)
    results, _ = run(capsys, *argv)
    assert results["t2v"]["R@1"] >= 80
    assert load_backbone(tmp_path).model.config.stem == (8,)
    assert set(load_backbone(tmp_path).trained_on) == set(load_backbone(trained).trained_on)


@pytest.mark.parametrize(
    "flags",
    [
        ["--linear_patch", "3d"],
        ["--sim_header", "seqLSTM", "--every_sentence", "--freeze_layer_num", "1"],
        ["--sim_header", "tightTransf", "--cross_num_hidden_layers", "1", "--precision", "bf16"],
        ["--cache_gb", "0", "--num_workers", "1", "--optim", "BertAdam", "--freeze_token_embedding", "false"],
    ],
)
def test_other_ways_run_and_can_be_used(flags, corpus, tmp_path, capsys):
    argv = words(corpus, tmp_path, "--epochs", "1", *flags)
    if "3d" in flags:
        argv[argv.index("--stem") : argv.index("--vision_width")] = []
    results, _ = run(capsys, *argv)
    assert results["videos"] == len(COLOURS)
    assert load_backbone(tmp_path).model.config.linear_patch == ("3d" if "3d" in flags else "2d")


def steady(corpus, output, *more):
    """A run in which nothing is drawn per process and no norm looks at the batch (as those of a stem do)."""
    still = [
        "--random_frames",
        "false",
        "--crop_min",
        "1.0",
        "--epochs",
        "2",
        "--log_steps",
        "1",
        "--optim",
        "BertAdam",
    ]
    argv = words(corpus, output, *still, "--linear_patch", "3d", *more)
    argv[argv.index("--stem") : argv.index("--vision_width")] = []
    return argv


@pytest.fixture(scope="module")
def reference(corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("reference")
    assert program.main(steady(corpus, output)) == 0
    return load_checkpoint(output / "last")


def same(tensors, output, exactly=False):
    """Equal weights. Adam turns the rounding of a gradient that is zero (key biases have none) into a whole step, so
    single entries may part where sums were taken in another order, but never the greater part of a tensor."""
    other = load_checkpoint(output / "last").tensors
    assert tensors.keys() == other.keys()
    for name, value in tensors.items():
        apart = (other[name].double() - value.double()).abs()
        if exactly:
            assert not apart.any(), name
        else:
            assert apart.max() < 2e-3 and apart.median() < 2e-5, (name, apart.max(), apart.median())


@pytest.mark.parametrize("flags", [["--micro_batch_size", "2"], ["--gradient_accumulation_steps", "4"]])
def test_small_pieces_train_as_the_whole_batch(flags, reference, corpus, tmp_path, monkeypatch, capsys):
    from model import CLIP4Clip

    sizes = set()
    original = CLIP4Clip._encode_frames
    monkeypatch.setattr(CLIP4Clip, "_encode_frames", lambda self, x: sizes.add(len(x)) or original(self, x))
    run(capsys, *steady(corpus, tmp_path, *flags))
    assert 2 in sizes and 8 not in sizes
    same(reference.tensors, tmp_path)


def test_two_processes_train_as_one(reference, corpus, tmp_path):
    launch(ROOT / "train_unified_model.py", *steady(corpus, tmp_path), processes=2)
    same(reference.tensors, tmp_path)
    one, two = (run.metrics["history"] for run in (reference, load_checkpoint(tmp_path / "last")))
    losses = [[epoch["train/loss"] for epoch in history] for history in (one, two)]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-5)
    assert losses[0][1] == pytest.approx(losses[1][1], rel=1e-3)  # see `same`
    cached = sorted(path.suffix for path in (tmp_path / "frames").iterdir())
    assert cached == [".json", ".json", ".json", ".u8", ".u8", ".u8"]


def test_an_interrupted_run_continues_as_if_nothing_had_been(corpus, tmp_path, monkeypatch, capsys):
    from utility import retrieval_report

    def stop(*_):
        raise KeyboardInterrupt

    drawn = ["--random_frames", "true", "--epochs", "2", "--save_steps", "1"]
    run(capsys, *words(corpus, tmp_path / "whole", *drawn))
    with monkeypatch.context() as patch:
        patch.setattr(retrieval_report, "evaluate", stop)
        assert program.main(words(corpus, tmp_path / "cut", *drawn)) == 130
    _, errors = run(capsys, *words(corpus, tmp_path / "cut", *drawn, "--resume"))
    assert "continuing from" in errors
    same(load_checkpoint(tmp_path / "whole" / "last").tensors, tmp_path / "cut", exactly=True)


def test_dry_run_writes_nothing(corpus, tmp_path, capsys):
    _, errors = run(capsys, *words(corpus, tmp_path / "none", "--dry_run"))
    assert not (tmp_path / "none").exists()
    assert "parameters" in errors and f'"crop_min": {SMALL_TOWER["crop_min"]}' in errors


def test_a_dry_evaluation_scores_nothing(trained, corpus, capsys):
    file = trained / "val_retrieval.json"
    dry = words(corpus, trained, "--do_eval", "--eval_split", "val", "--dry_run")
    printed, errors = run(capsys, *dry)
    assert "would score the val split" in errors and not file.exists() and not printed


def test_defaults_follow_the_backbone():
    args, method = with_defaults(RetrievalArguments(), MethodArguments("clip4clip"))
    assert (method.backbone, args.optim, args.coef_lr, method.freeze_token_embedding) == ("small", "AdamW", 1.0, True)
    assert args.cache_frames == 2 * args.max_frames and not method.temperature_frozen
    msrvtt = RetrievalArguments(datatype="MSR-VTT")
    args, method = with_defaults(msrvtt, MethodArguments("clip4clip"))
    assert (method.backbone, args.optim, args.batch_size) == ("ViT-B-32-quickgelu", "BertAdam", 128)
    assert (args.lr, args.coef_lr, args.max_frames, args.cache_frames) == (1e-4, 1e-3, 12, 12)
    assert not method.freeze_clip and not method.temperature_frozen
    assert with_defaults(RetrievalArguments(lr=0.5), MethodArguments())[0].lr == 0.5
    args, method = with_defaults(msrvtt, MethodArguments("stop"))
    assert (args.lr, args.optim, args.frame_sampling, args.cache_frames) == (1e-3, "AdamW", "segments", 48)
    assert method.freeze_clip and method.temperature_frozen
    args, method = with_defaults(msrvtt, MethodArguments("tempme"))
    assert (args.lr, args.beta2, args.eps, args.augmentation, args.short_clips) == (
        6e-4,
        0.999,
        1e-6,
        "randaugment",
        "repeat",
    )
    assert args.every_sentence and method.temperature_frozen
    args, method = with_defaults(msrvtt, MethodArguments("unified"))
    assert method.freeze_clip and not method.temperature_frozen


def test_words_of_the_published_commands_that_mean_another():
    args = RetrievalArguments(resume="None", lmdb_dataset="none", save_feature_path="None", precision="fp16")
    assert (args.resume, args.lmdb_dataset, args.save_feature_path, args.precision) == (None, None, None, "amp")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--backbone", "ViT-B/32"], "--resolution, --patch, --stem"),
        (["--max_words", "50"], "the text tower reads 32 at most"),
        (["--micro_batch_size", "3"], "--micro_batch_size 3 does not divide the 8 samples"),
        (["--batch_size", "100"], "--batch_size 100 is larger than the training data: 17 samples"),
        (["--data_root", "/nowhere"], "/nowhere"),
        (["--patch", "7"], "multiple of 2"),
        (["--sim_header", "seqTransf", "--embed_dim", "16"], "must equal embedding width 16"),
        (["--limit", "0"], "--limit is 0"),
    ],
)
def test_mistakes_are_explained(flags, message, corpus, tmp_path, capsys):
    assert program.main(words(corpus, tmp_path, *flags)) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "stop_it"], "invalid choice: 'stop_it'"),
        (["--epoch", "3"], "did you mean --epochs"),
        (["--eval_split", "tests"], "invalid choice: 'tests'"),
        (["--micro_batch_size", "2", "--gradient_accumulation_steps", "2"], "give one of them"),
    ],
)
def test_wrong_flags_end_at_once(flags, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        program.main(flags)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_an_address_that_is_none_is_explained(capsys, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert program.main(["--world_size", "2", "--init_method", "file:///x", "--device", "cpu"]) == 2
    assert "--init_method file:///x: must be tcp://HOST:PORT" in capsys.readouterr().err


def test_missing_published_weights_are_explained(corpus, tmp_path, capsys, monkeypatch):
    from pretrained import zoo

    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    assert program.main(["--data_root", str(corpus), "--output_dir", str(tmp_path / "run")]) == 2
    assert "python -m pretrained.zoo get ViT-B-32-quickgelu" in capsys.readouterr().err


def test_main_hands_the_retrieval_flags_over(monkeypatch):
    import main

    given = []
    monkeypatch.setitem(sys.modules, "train_unified_model", type("P", (), {"main": staticmethod(given.append)}))
    main.main(["--datatype", "msvd", "--epochs", "1"])
    assert given == [["--datatype", "msvd", "--epochs", "1"]]
