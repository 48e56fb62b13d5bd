"""The configuration of a captioner, read off its state dict."""

from torch import Tensor

from model.captioner.config import CaptionerConfig


def _count_layers(tensors: dict[str, Tensor], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})


def config_from_state_dict(tensors: dict[str, Tensor], **changes) -> CaptionerConfig:
    """Every size that shapes tell; what they do not tell keeps the published value unless `changes` names it.

    Shapes do not tell: numbers of heads, slots, nodes per slot, attention 1 or 2, `no_skip`, aggregation,
    dropout, initialisation, loss, compat.

    Raises:
        ValueError: a parameter that every captioner has is missing.
    """
    encoder, visual = "stg_encoder.transc.", "stg_encoder.stg_encoder.visual."
    layers = visual + "encoder.layer."
    try:
        shape = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        graph_width, node_dim = shape[encoder + "lp.weight"]
        projection = shape.get(encoder + "lp_edge_attr.weight")
        has_rel, has_objects = (f"{name}_src_embed.video_embeddings.1.weight" in shape for name in ("rel", "object"))
        values = {
            "node_dim": node_dim,
            "action_dim": projection[1] if projection else shape[encoder + "conv1.lin_edge.weight"][1],
            "graph_width": graph_width,
            "project_edge_dim": projection[0] if projection else None,
            "last_average": shape[encoder + "conv3.lin_key.weight"][0] != shape[encoder + "conv1.lin_key.weight"][0],
            "no_beta": encoder + "conv1.lin_beta.weight" not in shape,
            "node_positions": encoder.removesuffix("transc.") + "node_position" in shape,
            "box_positions": encoder.removesuffix("transc.") + "box_position.weight" in shape,
            "visual_width": shape[visual + "embeddings.word_embeddings.weight"][0],
            "visual_feed_forward": shape[layers + "0.intermediate.dense.weight"][0],
            "visual_layers": _count_layers(tensors, layers),
            "visual_positions": shape[visual + "embeddings.position_embeddings.weight"][0],
            "slots": min(CaptionerConfig.slots, shape[visual + "embeddings.position_embeddings.weight"][0]),
            "width": shape["generator.linear.weight"][1],
            "vocab_size": shape["generator.linear.weight"][0],
            "feed_forward": shape["l2r_decoder.decoder_layer.0.feed_forward.w_1.weight"][0],
            "layers": _count_layers(tensors, "l2r_decoder.decoder_layer."),
            "mode": "grid-obj-rel" if has_objects else "grid-rel" if has_rel else "grid",
            "rel_dim": shape["rel_src_embed.video_embeddings.1.weight"][1] if has_rel else 0,
            "object_dim": shape["object_src_embed.video_embeddings.1.weight"][1] if has_objects else 0,
        }
    except KeyError as error:
        raise ValueError(f"these are not the parameters of a captioner: {error.args[0]} is missing") from None
    if values["mode"] == "grid-rel" and any(name.startswith("encoder_no_attention.") for name in tensors):
        values["attention"] = 3
    return CaptionerConfig(**(values | changes))
