import numpy as np

from model.captioner import Captioner, CaptionerConfig
from model.captioner.tuning import parameter_groups


def test_weight_decay_spares_biases_and_norms():
    model = Captioner(CaptionerConfig.small(4, 4, 10, slots=2, nodes_per_slot=2))
    decayed, spared = parameter_groups(model, 0.1)
    assert decayed["weight_decay"] == 0.1 and spared["weight_decay"] == 0
    assert len(decayed["params"]) + len(spared["params"]) == len(list(model.parameters()))
    names = {id(p): name for name, p in model.named_parameters()}
    assert all(np.ndim(p.detach()) == 1 for p in spared["params"])
    assert any("visual_norm2d.weight" in names[id(p)] for p in decayed["params"])
