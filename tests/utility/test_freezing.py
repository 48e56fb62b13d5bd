import pytest

from utility.freezing import FreezeRules, choose_trainable, matches, training_table

NAMES = [
    "clip.logit_scale",
    "clip.visual.conv1.weight",
    "clip.visual.ln_pre.weight",
    "clip.visual.transformer.resblocks.0.attn.in_proj_weight",
    "clip.visual.transformer.resblocks.0.attn.TVPt_LoRA_a",
    "clip.visual.TemporalPrompt.Conv.weight",
    "clip.transformer.resblocks.0.attn.in_proj_weight",
    "clip.transformer.resblocks.0.ln_1.weight",
    "clip.ln_final.weight",
    "clip.prompt_proj.weight",
]
NEW = {NAMES[4], NAMES[5], NAMES[9]}


def trained(computed=lambda name: True, **rules):
    names, warnings = choose_trainable(NAMES, FreezeRules(**rules), NEW.__contains__, computed)
    return names, warnings


def test_a_frozen_backbone_leaves_what_is_new_and_the_temperature():
    assert trained()[0] == set(NAMES)
    assert trained(freeze_clip=True)[0] == {"clip.logit_scale", *NEW}


def test_substrings_freeze_and_towers_have_names():
    names, _ = trained(freeze=["visual.transformer", "text.transformer"])
    assert names == {n for n in NAMES if "transformer" not in n}
    assert trained(freeze=["text.ln_"])[0] == set(NAMES) - {"clip.ln_final.weight"}
    assert matches("clip.transformer.resblocks.0.ln_1.weight", "text.") and not matches(NAMES[1], "text.")
    assert trained(freeze=["text."])[0] == {n for n in NAMES if "visual" in n} | {NAMES[0], NAMES[9]}


def test_keeping_beats_freezing():
    names, _ = trained(freeze_clip=True, freeze=["visual.", "logit_scale"], keep=["LoRA", "logit_scale"])
    assert names == {NAMES[0], NAMES[4], NAMES[9]}
    assert NAMES[1] in trained(freeze_clip=True, keep=["conv1"])[0]
    assert NAMES[1] in trained(frozen=frozenset(NAMES[:4]), keep=["conv1"])[0]
    assert NAMES[2] not in trained(frozen=frozenset(NAMES[:4]))[0]


def test_the_temperature_trains_unless_it_is_named():
    assert NAMES[0] in trained(freeze_clip=True, frozen=frozenset([NAMES[0]]))[0]
    assert NAMES[0] not in trained(freeze=["logit"])[0]
    assert NAMES[0] not in trained(temperature_frozen=True)[0]
    assert NAMES[0] in trained(temperature_frozen=True, keep=["logit_scale"])[0]


def test_what_is_not_computed_never_trains():
    assert NAMES[5] not in trained(computed=lambda name: "Temporal" not in name, keep=["TemporalPrompt"])[0]


def test_substrings_that_match_nothing():
    with pytest.raises(ValueError, match=r"--freeze_substrings visual\.transfromer: no parameter"):
        trained(freeze=["visual.transfromer"])
    assert trained(keep=["LoRa"])[1] == ["--keep_substrings LoRa: no parameter has this in its name"]
    with pytest.raises(ValueError, match="no parameter is left to train"):
        trained(freeze=["clip."])


def test_the_table_counts_per_module():
    sizes = dict.fromkeys(NAMES, 10)
    lines = training_table(sizes, trained(freeze_clip=True)[0], NEW.__contains__)
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["clip.visual.transformer"] == ["10", "0"]
    assert rows["clip.transformer"] == ["20", "0"]
    assert rows["clip.visual.transformer.*.attn.TVPt_LoRA_a"] == ["10", "10", "new"]
    assert rows["all"] == ["100", "40", "40.00", "%"]
