import logging

import pytest
import tiny
import torch

from extractors import extract
from pretrained.backbones import load_backbone
from pretrained.i3d_weights import load_i3d


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    backbone = tiny.save_backbone(folder / "backbone", trained_on=["a b", "long", "e"])
    return ["--backbone", str(backbone), "--i3d", str(tiny.save_action_network(folder / "i3d"))]


@pytest.fixture(scope="session")
def networks(weights):
    return load_backbone(weights[1], torch.device("cpu")), load_i3d(weights[3], torch.device("cpu"))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return tiny.save_corpus(tmp_path_factory.mktemp("data") / "Tiny", tiny.LENGTHS)


@pytest.fixture(scope="session")
def flags(corpus, weights):
    return [
        "--data_root",
        str(corpus),
        *weights,
        "--slots",
        str(tiny.SLOTS),
        "--device",
        "cpu",
        "--batch_size",
        "20",
        "--precision",
        "fp32",
    ]


@pytest.fixture(scope="session")
def whole(flags, tmp_path_factory):
    """Features and graphs of the corpus, made without any disturbance."""
    folder = tmp_path_factory.mktemp("whole")
    assert extract.main([*flags, "--features", str(folder)]) == 0
    return folder


@pytest.fixture(autouse=True)
def quiet_logger():
    """The programs set up the root logger."""
    logger = logging.getLogger()
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    for handler in list(logger.handlers):
        if handler not in handlers:
            logger.removeHandler(handler)
