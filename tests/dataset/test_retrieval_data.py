from colour_clips import make_colour_corpus

from dataset.arguments import open_corpus
from dataset.method_settings import MethodArguments, with_defaults
from dataset.retrieval_data import RetrievalData
from dataset.retrieval_settings import RetrievalArguments
from utility.distributed import Distributed


def test_frames_are_kept_by_the_processes_of_one_machine_only(tmp_path):
    """They share a file that all of them map: on a network disk it would not be one memory."""
    root = make_colour_corpus(tmp_path / "corpus", {"train": 1})
    args, _ = with_defaults(RetrievalArguments(data_root=str(root)), MethodArguments(backbone="small"))
    corpus = open_corpus(args.data())
    kept = {}
    for machines in (1, 2):
        dist = Distributed(machines=machines)
        frames = RetrievalData(args, corpus, 16, tmp_path, dist, None).frames("train", 4)
        kept[machines] = frames._array is not None
        assert len(frames[frames.ids[0]]) > 1
    assert kept == {1: True, 2: False}
