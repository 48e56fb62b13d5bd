"""The features of an ablation's rows: those of the demo, and beside them tiles, objects, relations and altered graphs.

What is not there is made by the programs that a user would call, in the sampling of the features that are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copyfile
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dataset.arguments import DataArguments, features_dir
from dataset.caption_features import CaptionFeatures
from dataset.corpus import Corpus
from dataset.seen_videos import note_path
from graphs.alterations import write_altered, write_dealt
from scripts.ablation_rows import Row
from scripts.demo import OBJECTS, Stages
from utility.caption_evaluation import write_text
from utility.feature_store import FeatureStore, feature_path, find_feature

if TYPE_CHECKING:
    from scripts.ablation import AblationArguments


def features_of(args: AblationArguments, row: Row, corpus: Corpus) -> tuple[str, dict[str, str]]:
    """The folder of a row's features, made where they are absent, and the settings hash of each of them.

    Raises:
        FileNotFoundError: features that only the demo's first stages can make.
        RuntimeError: a program failed.
    """
    folder = features_dir(DataArguments(features=args.features), corpus)
    make_absent(args, row, corpus, folder)
    stores = CaptionFeatures(folder, corpus.name, row.features).stores
    hashes = {store.path.stem.removeprefix(f"{corpus.name}_"): store.settings_hash for store in stores.values()}
    if row.altered is None and not row.dealt:
        return f"{folder.as_posix()}/", hashes
    altered = Path(args.output_dir) / "features" / row.name
    paths = {part: altered / store.path.name for part, store in stores.items()}
    if not all(path.is_file() for path in paths.values()):
        write_parts(row, stores, paths, corpus)
        trained_on = note_path(folder, corpus.name)
        if trained_on.is_file():
            write_text(note_path(altered, corpus.name), trained_on.read_text(encoding="utf-8"))
    return f"{altered.as_posix()}/", hashes


def write_parts(row: Row, stores: Mapping[str, FeatureStore], paths: Mapping[str, Path], corpus: Corpus) -> None:
    """The features of a row in a folder of their own: of its graphs or its relations another version."""
    for part, path in paths.items():
        if part == "graphs" and row.altered is not None:
            write_altered(stores[part], path, row.altered)
        elif part == "rel" and row.dealt:
            write_dealt(stores[part], path, corpus.splits.values())
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            copyfile(stores[part].path, path)


def make_absent(args: AblationArguments, row: Row, corpus: Corpus, folder: Path) -> None:
    """Tiles, objects, their graphs and relations, where the row needs them and they are not there."""
    parts = row.features.split("+")
    data = ("--dataset", "minimotion", "--data_root", corpus.root)
    here = (*data, "--features", f"{folder.as_posix()}/", "--device", args.device)

    def absent(feature: str) -> bool:
        return not feature_path(folder, corpus.name, feature).is_file()

    if "GBased" in parts and absent("GBased_graph"):
        make_tiles(here, backbone(args, folder, corpus), sampling(folder, corpus))
    if ("OBased" in parts and absent("OBased_graph")) or ("OFeat" in parts and absent("OFeat")):
        make_objects(here, backbone(args, folder, corpus), sampling(folder, corpus))
    if "rel" in parts and absent("rel"):
        make_relations(data, here, backbone(args, folder, corpus), args.device)


def sampling(folder: Path, corpus: Corpus) -> tuple[Any, ...]:
    """The flags that sample videos as the action features were."""
    settings = FeatureStore(find_feature(folder, corpus.name, "actions")).settings
    return tuple(word for name in ("sampling", "rate", "slots") for word in (f"--{name}", settings[name]))


def backbone(args: AblationArguments, folder: Path, corpus: Corpus) -> str:
    """The backbone of the features: as given, else where the features say that it was."""
    from utility.places import located

    noted = FeatureStore(find_feature(folder, corpus.name, "theta2")).notes.get("weights", {}).get("backbone")
    if not (args.backbone or noted):
        raise ValueError(f"the features in {folder} do not say where their backbone is; give it with --backbone")
    return args.backbone or str(located(noted))


def make_tiles(here: Sequence[Any], backbone: str, sampling: Sequence[Any]) -> None:
    """`GBased` and the graphs of tiles that overlap by a quarter: with a half, small things are seen worse."""
    from extractors import grid_node_theta_1_feature_extractor as tiles
    from graphs import grid_based_spatial_action_graph as spatial

    Stages.run(
        "extractors/grid_node_theta_1_feature_extractor.py",
        tiles.main, *here, "--backbone", backbone, "--overlap", 0.25, *sampling,
    )  # fmt: skip
    make_graphs(here, spatial, "grid")


def make_objects(here: Sequence[Any], backbone: str, sampling: Sequence[Any]) -> None:
    """`OBased`, `OFeat` and the graphs of objects, by the detector that needs no weights."""
    from extractors import object_node_theta_1_feature_extractor as objects
    from graphs import object_based_spatial_action_graph as spatial

    Stages.run(
        "extractors/object_node_theta_1_feature_extractor.py",
        objects.main, *here, *OBJECTS, "--backbone", backbone, *sampling,
    )  # fmt: skip
    make_graphs(here, spatial, "object")


def make_graphs(here: Sequence[Any], spatial: ModuleType, nodes: str) -> None:
    """The graph within slots, that between slots, and both together."""
    from graphs import action_spatio_temporal_graph_feature_extractor as whole
    from graphs import temporal_similarity_graph as temporal

    for program in (spatial, temporal, whole):
        Stages.run(f"graphs/{program.__name__.rpartition('.')[2]}.py", program.main, *here, "--nodes", nodes)


def make_relations(data: Sequence[Any], here: Sequence[Any], backbone: str, device: str) -> None:
    """Triples of the training captions, their graph, its embedding, and the rows of every video."""
    from graphs.knowledge import embed, graph, relations, triples

    Stages.run("-m graphs.knowledge.triples", triples.main, *data)
    Stages.run("-m graphs.knowledge.graph", graph.main, *data)
    Stages.run("-m graphs.knowledge.embed", embed.main, *data, "--model", "TransE", "--device", device)
    Stages.run("-m graphs.knowledge.relations", relations.main, *here, "--backbone", backbone, "--embedding", "TransE")
