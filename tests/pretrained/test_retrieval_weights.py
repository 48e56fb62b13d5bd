"""Published checkpoints of the retrieval methods: read, recognised, written and read again."""

import pytest
import torch

from model.backbone.clip import CLIP, CLIPConfig
from model.retrieval.methods import METHODS, build_method
from pretrained.retrieval_weights import export_published, load_retrieval, open_published, recognise, settings_of

# One head per 64 channels, as the published files, which do not tell, have it.
TINY = CLIPConfig(24, 32, 8, 64, 3, 1, 64, 2, 1, context_length=12, vocab_size=60)
NAMES = {"clip4clip": "pytorch_model.bin.3", "tempme": "best.pth"}


def network(method, seed=0, **settings):
    torch.manual_seed(seed)
    model = build_method(method, CLIP(TINY), {"max_frames": 6} | settings).eval()
    for name, parameter in model.named_parameters():
        if model.is_new(name):
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def clips():
    return torch.randn(2, 6, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def export(method, folder, **settings):
    model = network(method, **settings)
    path = folder / NAMES.get(method, "ckpt.pth.tar")
    export_published(path, method, model)
    return model, path


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("clip4clip", {"sim_header": "seqLSTM"}),
        ("stop", {}),
        ("stop", {"adapter_width": 5}),
        ("stop", {"adapter": False, "local_each_frame_prompt_length": 2}),
        ("dgl", {}),
        ("tempme", {"lora_dim": 3, "merge_layer": "0-2", "merge_frame_num": "2-3"}),
        ("unified", {"shared_latent_space": "transformer"}),
    ],
)
def test_written_and_read_again_it_is_the_same_network(tmp_path, method, settings):
    model, path = export(method, tmp_path, **settings)
    found, again, left = open_published(path)
    assert (found, left) == (method, []) and not again.training
    assert torch.equal(again.encode_video(clips()), model.encode_video(clips()))
    assert {name: x.shape for name, x in again.state_dict().items()} == {
        name: x.shape for name, x in model.state_dict().items()
    }


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("stop", {"shared_latent_space": "linear"}),
        ("dgl", {"shared_latent_space": "linear"}),
        ("tempme", {"frame_pos": False}),
    ],
)
def test_linear_prompts_and_absent_positions_do_not_tell_the_frames(tmp_path, method, settings):
    model, path = export(method, tmp_path, **settings)
    found, again, _ = open_published(path, {"max_frames": 6})
    assert found == method and torch.equal(again.encode_video(clips()), model.encode_video(clips()))


def test_layouts_are_the_published_ones(tmp_path):
    stop = torch.load(export("stop", tmp_path)[1], weights_only=True)
    assert stop["arch"] == "CLIp4Clip" and {"epoch", "global_step", "best_acc1"} <= set(stop)
    names = set(stop["state_dict"])
    assert all(name.startswith("module.clip.") for name in names)
    assert {
        "module.clip.visual.TemporalPrompt.Conv.0.weight", "module.clip.visual.position_ids",
        "module.clip.PromptTransformer.resblocks.0.attn.in_proj_weight", "module.clip.unified_prompt_mlp.c_fc.weight",
        "module.clip.transformer.resblocks.1.LoRA.1.weight", "module.clip.visual.prompt_embeddings",
    } <= names  # fmt: skip
    tempme = torch.load(export("tempme", tmp_path)[1], weights_only=True)
    assert {
        "clip.visual.transformer.resblocks.0.attn.TVPt_LoRA_a", "clip.transformer.resblocks.1.attn.TVPt_LoRA_b",
        "clip.visual.transformer.resblocks.1.TVPt_Video_Positional_embedding",
    } <= set(tempme)  # fmt: skip
    with pytest.raises(ValueError, match="holds tensors only; not epoch"):
        export_published(tmp_path / "x.pth", "tempme", network("tempme"), {"epoch": 1})


def test_half_precision_weights_become_float32(tmp_path):
    model = network("tempme")
    torch.save({name: x.half() for name, x in model.state_dict().items()}, tmp_path / "best.pth")
    _, again, _ = open_published(tmp_path / "best.pth")
    assert {p.dtype for p in again.parameters()} == {torch.float32}


def test_missing_and_unexpected_names_are_listed_and_a_part_must_be_asked_for(tmp_path):
    tensors = network("stop").state_dict()
    del tensors["clip.visual.prompt_embeddings"]
    tensors["clip.extra"] = torch.zeros(1)
    model = network("stop", seed=1)
    expected = ["missing clip.visual.prompt_embeddings", "unexpected clip.extra"]
    with pytest.raises(ValueError) as caught:
        load_retrieval(model, tensors, "ckpt.pth.tar")
    assert all(entry in str(caught.value) for entry in ["ckpt.pth.tar", *expected])
    assert load_retrieval(model, tensors, "ckpt.pth.tar", partial=True) == expected
    tensors["clip.visual.proj"] = torch.zeros(64, 25)
    with pytest.raises(ValueError, match=r"clip.visual.proj is \(64, 25\), the model has \(64, 24\)"):
        load_retrieval(model, tensors, "ckpt.pth.tar", partial=True)


def test_a_checkpoint_of_another_number_of_frames_does_not_fit():
    with pytest.raises(ValueError, match="unified_prompt_embedding"):
        load_retrieval(network("stop", max_frames=8), network("stop").state_dict())


@pytest.mark.parametrize("method", METHODS)
def test_methods_are_recognised_by_their_tensors(method):
    tensors = network(method).state_dict()
    assert recognise(tensors) == method
    assert settings_of(tensors)["sim_header"] == "meanP"
    with pytest.raises(ValueError, match="not a checkpoint of CLIP4Clip, STOP or TempMe"):
        recognise({"visual.proj": torch.zeros(1)})


def test_nothing_stored_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return print, ("this must not run",)

    torch.save({"state_dict": {"clip.visual.conv1.weight": Trap()}}, tmp_path / "ckpt.pth.tar")
    with pytest.raises(ValueError, match="would have to run code"):
        open_published(tmp_path / "ckpt.pth.tar")
