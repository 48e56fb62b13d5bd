"""A small knowledge graph, captions that state it, and a tiny backbone that can read."""

import json

import torch

from graphs.knowledge.cleaning import count
from graphs.knowledge.extraction import Triple
from graphs.knowledge.knowledge_graph import build
from graphs.knowledge.triple_files import VideoTriples
from model.backbone.clip import CLIP, CLIPConfig
from pretrained.backbones import describe
from utility.checkpoint import save_checkpoint
from utility.images import CLIP_MEAN, CLIP_STD

WIDTH = 24
PEOPLE, INSTRUMENTS, ANIMALS = ("man", "woman", "girl"), ("flute", "guitar", "drum"), ("horse", "pony", "camel")
TRIPLES = [Triple(p, "play", i) for p in PEOPLE for i in INSTRUMENTS] + [
    Triple(p, "ride", a) for p in PEOPLE for a in ANIMALS
]


def small_graph(min_support=1, repeat=3):
    """18 triples of 9 entities and 2 relations; triple i is stated by `repeat + i % 2` captions of video i % 5."""
    videos = [VideoTriples(f"v{i % 5}", 9, [triple] * (repeat + i % 2)) for i, triple in enumerate(TRIPLES)]
    return build(count(videos, lambda word: True), min_support)


def save_reading_backbone(folder, seed=0):
    """A checkpoint folder with a CLIP of 32 pixels that knows all sub-words of the tokeniser."""
    config = CLIPConfig(WIDTH, 32, 16, 32, 2, 2, 16, 1, 2, context_length=10, vocab_size=49408)
    torch.manual_seed(seed)
    model = CLIP(config)
    save_checkpoint(
        folder,
        tensors=model.state_dict(),
        config={"backbone": describe(config, "reading", CLIP_MEAN, CLIP_STD), "trained_on": ["v0"]},
    )
    return folder


def save_captions(root, texts, split):
    """`metadata/captions.json` of {id: captions} with {id: split}."""
    (root / "metadata").mkdir(parents=True, exist_ok=True)
    content = {
        "videos": [{"video_id": name, "split": split[name]} for name in texts],
        "sentences": [{"video_id": name, "caption": text} for name, own in texts.items() for text in own],
    }
    (root / "metadata" / "captions.json").write_text(json.dumps(content))
    return root
