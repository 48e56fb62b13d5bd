"""Every place from which a backbone may come, with weights that the tests make."""

import json
from dataclasses import asdict

import pytest
import torch

from model import CLIP4Clip
from model.backbone.clip import CLIP, CLIPConfig, small_config
from model.retrieval.methods import build_method
from model.retrieval.settings import MethodSettings
from pretrained import zoo
from pretrained.backbones import backbone_tag, describe, load_backbone
from pretrained.retrieval_weights import export_published
from utility.checkpoint import save_checkpoint

TINY = CLIPConfig(
    embed_dim=24, resolution=32, patch=8, vision_width=64, vision_layers=2, vision_heads=1,
    text_width=64, text_layers=1, text_heads=1, context_length=12, vocab_size=60,
)  # fmt: skip
IDS = torch.tensor([[58, 3, 4, 59, 0, 0, 0, 0, 0, 0, 0, 0]])


@pytest.fixture
def clip():
    torch.manual_seed(0)
    return CLIP(TINY).eval()


def pictures():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def same(first, second, tolerance=1e-5):
    torch.testing.assert_close(first.encode_image(pictures()), second.encode_image(pictures()), rtol=0, atol=tolerance)
    torch.testing.assert_close(first.encode_text(IDS), second.encode_text(IDS), rtol=0, atol=tolerance)


def torch_script(clip, path):
    traced = torch.jit.trace_module(clip, {"encode_image": pictures(), "encode_text": IDS}, check_trace=False)
    torch.jit.save(traced, path)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_openai_archive(clip, tmp_path):
    path = tmp_path / "openai.pt"
    torch_script(clip, path)
    backbone = load_backbone(path)
    assert backbone_tag(path) == backbone.tag
    same(backbone.model, clip)
    assert backbone.model.config.activation == "quick_gelu" and not backbone.model.training
    assert (backbone.resolution, backbone.mean, backbone.std) == (32, zoo.CLIP_MEAN, zoo.CLIP_STD)
    assert backbone.trained_on is None and backbone.tag == "openai" and len(backbone.hash) == 16
    with pytest.raises(ValueError, match="needs quick_gelu, ViT-B-32 has gelu: use ViT-B-32-quickgelu"):
        load_backbone(f"ViT-B-32:{path}")


def test_openai_state_dict_without_the_archive(clip, tmp_path):
    path = tmp_path / "plain.pt"
    torch.save(clip.half().state_dict() | {"input_resolution": torch.tensor(32)}, path)
    backbone = load_backbone(path)
    assert {p.dtype for p in backbone.model.parameters()} == {torch.float32}
    assert backbone.model.config.activation == "quick_gelu"


def test_clip4clip_file_in_mixed_precision_with_a_header(clip, tmp_path):
    square = CLIP(CLIPConfig(**(TINY.__dict__ | {"embed_dim": 64}))).eval()
    model = CLIP4Clip(square, "seqTransf", 1)
    mixed = {k: v.half() if k.startswith("clip.") and v.ndim > 1 else v for k, v in model.state_dict().items()}
    path = tmp_path / "pytorch_model.bin.3"
    torch.save(mixed, path)
    backbone = load_backbone(path)
    same(backbone.model, square, 2e-2)
    assert "transformerClip.resblocks.0.ln_1.weight" in backbone.left_out
    assert backbone.tag == backbone_tag(path) == "pytorch_model.bin.3"
    assert {p.dtype for p in backbone.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("quick", [True, False])
def test_open_clip_file_with_its_architecture(quick, tmp_path, monkeypatch):
    import open_clip

    described = {
        "embed_dim": 24,
        "quick_gelu": quick,
        "vision_cfg": {"layers": 2, "width": 64, "head_width": 16, "patch_size": 8, "image_size": 32},
        "text_cfg": {"context_length": 12, "vocab_size": 60, "width": 48, "heads": 3, "layers": 2},
    }
    (tmp_path / "Tiny.json").write_text(json.dumps(described))
    open_clip.add_model_config(tmp_path / "Tiny.json")
    theirs = open_clip.create_model("Tiny").eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.bin")
    backbone = load_backbone(f"Tiny:{tmp_path / 'weights.bin'}")
    same(backbone.model, theirs)
    assert backbone.tag == backbone_tag(f"Tiny:{tmp_path / 'weights.bin'}") == "Tiny.weights"
    assert backbone.model.config.activation == ("quick_gelu" if quick else "gelu")
    with pytest.raises(ValueError, match="does not tell whether it needs gelu or quick_gelu"):
        load_backbone(tmp_path / "weights.bin")


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_hugging_face_folder(activation, tmp_path):
    from transformers import CLIPConfig as TheirConfig
    from transformers import CLIPModel

    common = {"num_hidden_layers": 2, "hidden_act": activation}
    vision = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}
    text = {
        "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "vocab_size": 60,
        "max_position_embeddings": 12, "eos_token_id": 59, "bos_token_id": 58,
    }  # fmt: skip
    torch.manual_seed(0)
    theirs = CLIPModel(TheirConfig(text_config=text | common, vision_config=vision | common, projection_dim=24)).eval()
    for parameter in theirs.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    theirs.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}))
    backbone = load_backbone(tmp_path)
    assert backbone_tag(tmp_path) == backbone.tag == tmp_path.name
    assert backbone.model.config.activation == activation
    assert (backbone.model.config.vision_heads, backbone.model.config.text_heads) == (4, 2)
    assert (backbone.mean, backbone.std) == ((0.5,) * 3, (0.25,) * 3)
    with torch.inference_mode():
        out = theirs(input_ids=IDS, pixel_values=pictures())
        image = torch.nn.functional.normalize(backbone.model.encode_image(pictures()), dim=-1)
        text = torch.nn.functional.normalize(backbone.model.encode_text(IDS), dim=-1)
    torch.testing.assert_close(image, out.image_embeds, rtol=0, atol=1e-5)
    torch.testing.assert_close(text, out.text_embeds, rtol=0, atol=1e-5)


def test_checkpoint_folder_remembers_what_it_saw(tmp_path):
    torch.manual_seed(0)
    config = small_config(vocab_size=60, vision_heads=8)
    model = CLIP4Clip(CLIP(config)).eval()
    described = describe(config, "mine", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    content = {"backbone": described, "trained_on": ["video1", "video2"], "corpus": "MSR-VTT"}
    save_checkpoint(tmp_path / "run" / "best", tensors=model.state_dict(), config=content)
    for spec in (tmp_path / "run", tmp_path / "run" / "best"):
        backbone = load_backbone(spec)
        assert backbone.model.config == config
        assert backbone.trained_on == ["video1", "video2"] and backbone.corpus == "MSR-VTT"
        assert backbone_tag(spec) == "mine"
        assert (backbone.tag, backbone.mean, backbone.std) == ("mine", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
        pixels = torch.randn(1, 3, 64, 64)
        torch.testing.assert_close(backbone.model.encode_image(pixels), model.clip.encode_image(pixels))


def test_the_tag_of_a_backbone_needs_no_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    assert backbone_tag("ViT-B/32") == backbone_tag("ViT-B-32-quickgelu") == "ViT-B-32-quickgelu"
    assert backbone_tag("ViT-B-32:elsewhere/my weights.bin") == "ViT-B-32.my_weights"
    assert backbone_tag("akg") == "akg"


def test_tokenizer_makes_rows_as_long_as_the_text_tower(tmp_path):
    content = {"backbone": describe(small_config(), "mine", (0.5,) * 3, (0.5,) * 3)}
    save_checkpoint(tmp_path / "best", tensors=CLIP(small_config()).state_dict(), config=content)
    backbone = load_backbone(tmp_path / "best")
    assert backbone.tokenizer(["a man"]).tolist() == [[49406, 320, 786, 49407] + [0] * 28]
    assert backbone.tokenizer(["a man"], 5).shape == (1, 5)


@pytest.mark.parametrize("name", ["ViT-B-32-quickgelu", "ViT-B/32"])
def test_missing_weights_say_what_and_how(name, monkeypatch, tmp_path):
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    with pytest.raises(zoo.MissingWeights) as error:
        load_backbone(name)
    for words in (
        "file ViT-B-32.pt",
        "353,976,522 bytes",
        "sha256 40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        "in the folder",
        "python -m pretrained.zoo get ViT-B-32-quickgelu",
    ):
        assert words in str(error.value)


def test_incomplete_download_is_recognised(tmp_path):
    (tmp_path / "ViT-B-32.pt").write_bytes(b"half of it")
    with pytest.raises(ValueError, match="has 10 bytes instead of 353,976,522"):
        load_backbone(tmp_path / "ViT-B-32.pt")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("ViT-Z-99", "no backbone ViT-Z-99: neither a file or folder nor a known name"),
        ("rgb_imagenet", "is not a CLIP"),
        ("ViT-L-14-336-quickgelu", "name their file too: ViT-L-14-336-quickgelu:FILE"),
        ("ViT-B-32:absent.bin", "weight file not found: absent.bin"),
    ],
)
def test_unknown_names(spec, words):
    with pytest.raises((FileNotFoundError, ValueError), match=words):
        load_backbone(spec)


def test_what_is_no_clip_is_named(tmp_path, clip):
    torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"no visual.conv1.weight among its 1 tensors \(fc.weight"):
        load_backbone(tmp_path / "other.pt")
    tensors = clip.state_dict() | {"input_resolution": torch.tensor(32)}
    torch.save({k: v for k, v in tensors.items() if k != "ln_final.bias"}, tmp_path / "part.pt")
    with pytest.raises(ValueError, match=r"missing ln_final.bias"):
        load_backbone(tmp_path / "part.pt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="neither a checkpoint folder"):
        load_backbone(tmp_path / "empty")
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    torch.save({"x": torch.ones(1)}, tmp_path / "bert" / "pytorch_model.bin")
    with pytest.raises(ValueError, match="holds a bert, not a clip"):
        load_backbone(tmp_path / "bert")


@pytest.mark.parametrize("method", ["clip4clip", "stop", "tempme", "unified"])
def test_a_run_of_any_method_sees_pictures_by_themselves(clip, tmp_path, method):
    settings = MethodSettings(max_frames=4, lora_dim=2, local_each_frame_prompt_length=3)
    model = build_method(method, clip, settings).eval()
    for name, parameter in model.named_parameters():
        if model.is_new(name):
            torch.nn.init.normal_(parameter, std=0.2)
    described = {"backbone": describe(TINY, "own", zoo.CLIP_MEAN, zoo.CLIP_STD)}
    described |= {"method": method, "method_settings": asdict(settings)}
    save_checkpoint(tmp_path / "run" / "best", tensors=model.state_dict(), config=described)
    backbone = load_backbone(tmp_path / "run")
    assert backbone.tag == "own" and backbone.left_out == () and not backbone.model.training
    frames = backbone.model.encode_image(pictures())
    expected = model.encode_image(pictures())
    torch.testing.assert_close(frames, expected, rtol=1e-4, atol=1e-5)
    # A tile among others and a frame alone have the same feature: each is a video of its own.
    torch.testing.assert_close(frames[1:], backbone.model.encode_image(pictures()[1:]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.encode_text(IDS), backbone.model.encode_text(IDS), rtol=1e-4, atol=1e-5)
    assert type(backbone.clip) is CLIP and backbone.clip.config == TINY


def test_published_checkpoints_of_other_methods_are_backbones_too(clip, tmp_path):
    for method, name in (("stop", "ckpt.pth.tar"), ("tempme", "best.pth")):
        model = build_method(method, CLIP(TINY), {"max_frames": 4}).eval()
        export_published(tmp_path / name, method, model)
        backbone = load_backbone(tmp_path / name)
        expected = model.encode_image(pictures())
        torch.testing.assert_close(backbone.model.encode_image(pictures()), expected, rtol=1e-4, atol=1e-5)
