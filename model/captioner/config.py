"""Every size and switch of the captioner, in one dataclass.

The defaults are the published sizes. What the published system did by mistake is off by default and
comes back item by item through `compat` (or all at once with "reference").
"""

from dataclasses import asdict, dataclass, fields

MODES = ("grid", "grid-rel", "grid-obj-rel")

COMPAT = {
    "positions": "the sinusoid row is the index in the batch, not the position of the token",
    "embedding_scale": "token embeddings are scaled by the width, not by its square root",
    "graph_offset": "in training, graphs of a batch are shifted by the root of their edge count, not their node count",
    "pad_edges": "short videos get zero-attribute edges from the first nodes; empty nodes count in the mean of a slot",
    "relation_sum": "relation and object rows are added to the frames by row number",
    "beam": "the beam shrinks with every finished hypothesis; nothing is excluded, no length control",
    "r2l_memory": "the L2R decoder attends to the best R2L hypothesis that was still live in the last step",
    "loss_mean": "the loss is averaged over padding too",
}
"""Switches that act inside the captioner, and what the published system does under each."""

COMPAT_ELSEWHERE = ("references", "i3d_bn", "sampling", "square_crop")
"""Switches of the same list that act in other parts; accepted here so that one list serves all."""


def expand_compat(names) -> tuple[str, ...]:
    """The switches meant by `names`, with "reference" standing for all of them.

    Raises:
        ValueError: a name is not a switch.
    """
    if isinstance(names, str):
        names = names.split(",")
    known = (*COMPAT, *COMPAT_ELSEWHERE)
    chosen = [name.strip() for name in names if name.strip()]
    unknown = [name for name in chosen if name not in known and name != "reference"]
    if unknown:
        raise ValueError(f"unknown compat item {', '.join(unknown)}; known are: reference, {', '.join(known)}")
    return known if "reference" in chosen else tuple(name for name in known if name in chosen)


@dataclass
class CaptionerConfig:
    """Sizes of the captioner. `small` gives a network that trains on a CPU."""

    node_dim: int = 512  # width of a grid or object node
    action_dim: int = 1024  # width of the action vector of a slot
    vocab_size: int = 10000
    slots: int = 20
    nodes_per_slot: int = 9
    mode: str = "grid"
    attention: int = 1  # how `grid-rel` encodes relation rows: 1 self-attention, 2 with positions, 3 feed-forward only
    rel_dim: int = 0  # width of a relation row; needed by grid-rel and grid-obj-rel
    object_dim: int = 0  # width of an object row; needed by grid-obj-rel

    graph_width: int = 1024
    graph_heads: int = 4
    aggregation: str = "mean"  # published: a mean on top of the softmax; "add" keeps the weighted average whole
    node_positions: bool = False  # learnt place of a node in its slot, for grids; the published nodes do not know it
    box_positions: bool = False  # the same from a node's box, for objects: where it is and how large
    project_edge_dim: int | None = None
    last_average: bool = False
    no_beta: bool = False
    no_skip: bool = False

    visual_width: int = 768
    visual_feed_forward: int = 3072
    visual_layers: int = 3
    visual_positions: int = 512
    position_std: float = 0.02  # initial size of the slot positions; small networks learn the order sooner from 0.2
    heads_r2l: int = 128  # the encoder of the R2L decoder
    heads_l2r: int = 12

    width: int = 640
    heads: int = 10
    feed_forward: int = 2048
    layers: int = 3
    dropout: float = 0.1

    label_smoothing: float = 0.15
    l2r_weight: float = 0.6
    compat: tuple[str, ...] = ()

    def __post_init__(self):
        self.compat = expand_compat(self.compat)
        if self.mode not in MODES:
            raise ValueError(f"unknown mode {self.mode!r}; known are: {', '.join(MODES)}")
        if self.attention not in (1, 2, 3):
            raise ValueError(f"attention is {self.attention}; allowed are 1, 2 and 3")
        if self.attention != 1 and self.mode != "grid-rel":
            raise ValueError(
                f"attention {self.attention} has no effect in mode {self.mode!r}: "
                "it chooses how the relation rows of grid-rel are encoded; leave it at 1"
            )
        if self.aggregation not in ("mean", "add"):
            raise ValueError(f"aggregation is {self.aggregation!r}; allowed are 'mean' and 'add'")
        for name, needed in (("rel_dim", self.mode != "grid"), ("object_dim", self.mode == "grid-obj-rel")):
            if needed and getattr(self, name) < 1:
                given = getattr(self, name)
                raise ValueError(f"mode {self.mode!r} needs {name}, the width of its rows (given: {given})")
        for width, heads in (
            ("graph_width", "graph_heads"),
            ("visual_width", "heads_r2l"),
            ("visual_width", "heads_l2r"),
            ("width", "heads"),
        ):
            size, number = getattr(self, width), getattr(self, heads)
            if size % number:
                raise ValueError(f"{width} {size} is not a multiple of {heads} {number}; change one of them")
        if self.slots > self.visual_positions:
            raise ValueError(f"{self.slots} slots, but only {self.visual_positions} positions; raise visual_positions")
        if self.vocab_size < 3:
            raise ValueError(f"vocab_size is {self.vocab_size}; it must hold <PAD>, <S> and at least one word")

    @classmethod
    def small(cls, node_dim: int, action_dim: int, vocab_size: int, slots: int = 8, nodes_per_slot: int = 9, **changes):
        """Two layers of width 128: minutes of training on two CPU cores.

        Without dropout: behind the norm, where the published layers have it, it slows a small network down severalfold.
        """
        sizes = {
            "graph_width": 128,
            "node_positions": True,
            "visual_width": 128,
            "visual_feed_forward": 256,
            "visual_layers": 2,
            "visual_positions": max(32, slots),
            "position_std": 0.2,
            "heads_r2l": 8,
            "heads_l2r": 4,
            "width": 128,
            "heads": 4,
            "feed_forward": 256,
            "layers": 2,
            "dropout": 0.0,
        }
        return cls(node_dim, action_dim, vocab_size, slots, nodes_per_slot, **(sizes | changes))

    @classmethod
    def from_dict(cls, values: dict, compat=()) -> "CaptionerConfig":
        """The configuration stored by `to_dict`, with the switches `compat` beside its own.

        Raises:
            ValueError: `values` has a name that is no field, or a name is not a switch.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown captioner settings {', '.join(unknown)}; known are: {', '.join(sorted(known))}")
        return cls(**values | {"compat": (*expand_compat(values.get("compat", ())), *expand_compat(compat))})

    def to_dict(self) -> dict:
        """Plain types only, ready for JSON."""
        return asdict(self) | {"compat": list(self.compat)}
