"""Golden values of the action network: features, logits and endpoint statistics."""

import fill
import numpy as np
import torch

from model.backbone.i3d import I3D, batch_statistics


def clip_of(case: dict) -> torch.Tensor:
    """The input that the fixture's `input_rule` describes."""
    clip = fill.inputs(case["input"], case["shape"])
    if case["kind"] == "block":
        for axis, repeat in zip((2, 3, 4), case["repeat"], strict=True):
            clip = np.repeat(clip, repeat, axis=axis)
    return torch.from_numpy(np.clip(clip / 2, -1, 1))


def i3d_network(spec, arrays, folder) -> None:
    shapes = spec["state_dict"]
    size = shapes["Conv3d_1a_7x7.conv3d.weight"]
    network = I3D(num_classes=shapes["logits.conv3d.weight"][0], in_channels=size[1]).eval()
    own = network.state_dict()
    assert {name: list(value.shape) for name, value in own.items()} == {
        name: shape[0] if len(shape) == 2 and shape[1] == "int64" else shape for name, shape in shapes.items()
    }
    weights = fill.state_dict(shapes)
    for name, case in spec["cases"].items():
        gain = np.float32(case["gain"])
        network.load_state_dict({k: v * gain if k.endswith("conv3d.weight") else v for k, v in weights.items()})
        clip = clip_of(case)
        assert list(clip.shape) == case["input_clip_shape"]
        with torch.inference_mode():
            if case.get("bn") == "batch":
                with batch_statistics(network):
                    feature = network.features(clip)
            else:
                feature = network.features(clip)
        limit = 1e-5 * float(np.abs(arrays[f"{name}.feature"]).max())
        np.testing.assert_allclose(feature.numpy(), arrays[f"{name}.feature"], rtol=1e-4, atol=limit, err_msg=name)
        if case.get("logits_shape") is not None:
            with torch.inference_mode():
                logits = network(clip)
            assert list(logits.shape) == case["logits_shape"]
            np.testing.assert_allclose(logits.numpy(), arrays[f"{name}.logits"], rtol=1e-4, atol=limit, err_msg=name)
        stored = case.get("endpoint_shape_mean_std_max", {})
        with torch.inference_mode():
            maps = network.endpoints(clip, stored)
        for endpoint, (shape, mean, std, most) in stored.items():
            x = maps[endpoint].double()
            assert list(x.shape) == shape, endpoint
            got = [x.mean(), x.std(correction=0), x.max()]
            np.testing.assert_allclose(got, [mean, std, most], rtol=1e-4, err_msg=endpoint)


RUNNERS = {"i3d/network": i3d_network}
