"""The rows of the ablation: what is trained, what it is held against, and what that tells."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One kind of captioner.

    Args:
        name: in `--rows`, in folders.
        label: in the table.
        features: as in a model name, without "+videomask".
        against: rows that this one is compared with, seed by seed.
        flags: of main.py.
        altered: a name of `graphs.alterations`: the graphs that it is trained and tested on.
        dealt: it is trained and tested on relation rows of other clips.
        adds: whether something is added to those rows (then it ought to help) or taken away (then it ought to hurt).
    """

    name: str
    label: str
    features: str
    against: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    altered: str | None = None
    dealt: bool = False
    adds: bool = True


def _rel(nodes: str, attention: int) -> Row:
    label = f"`{nodes}+rel`, `--attention {attention}`"
    return Row(f"{nodes}+rel-{attention}", label, f"{nodes}+rel", (nodes,), ("--attention", str(attention)))


def _altered(name: str) -> Row:
    return Row(name.replace(" ", "-"), name, "GBased", ("GBased",), altered=name, adds=False)


ROWS = {
    row.name: row
    for row in (
        Row("GBased", "`GBased`", "GBased"),
        *(_rel("GBased", attention) for attention in (1, 2, 3)),
        Row("GBased+OFeat+rel", "`GBased+OFeat+rel`", "GBased+OFeat+rel", ("GBased", "GBased+rel-1")),
        Row("OBased", "`OBased`", "OBased", ("GBased",)),
        Row("OBased+rel", "`OBased+rel`", "OBased+rel", ("OBased",)),
        *(_rel("OBased", attention) for attention in (2, 3)),
        Row(
            "rel-of-another",
            "`OBased+rel`, relations of another clip",
            "OBased+rel",
            ("OBased+rel",),
            dealt=True,
            adds=False,
        ),
        Row("blind", "blind: the graph of another clip", "GBased", ("GBased",), ("--shuffle_videos",), adds=False),
        _altered("edges shuffled"),
        _altered("actions zeroed"),
        _altered("nodes zeroed"),
    )
}
