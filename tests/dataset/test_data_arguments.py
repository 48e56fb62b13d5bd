import pytest
from caption_corpus import make_corpus, video_name

from dataset.arguments import DataArguments, features_dir, for_corpus, open_corpus, reader_name


@pytest.fixture
def root(tmp_path):
    return make_corpus(tmp_path / "films", count=10)


@pytest.mark.parametrize("spelling", ["MSR-VTT", "msrvtt", "Msr_Vtt", "msr vtt"])
def test_spellings_of_a_dataset_mean_the_same(spelling):
    assert reader_name(spelling) == "msrvtt"
    assert reader_name("Kinetics") is None


def test_a_data_root_alone_means_a_folder(root):
    corpus = open_corpus(DataArguments(data_root=str(root)))
    assert corpus.name == "films" and len(corpus.videos) == 10
    assert open_corpus(DataArguments(data_root=str(root), split="test")).ids() == [video_name(8), video_name(9)]
    assert len(open_corpus(DataArguments(data_root=str(root), limit=1)).videos) == 3


def test_unknown_names_list_the_known_ones():
    with pytest.raises(
        ValueError, match=r"Unknown dataset \(kinetics\). Known are MiniMotion, MSR-VTT, MSVD, .*, or any folder"
    ):
        open_corpus(DataArguments(dataset="kinetics"))
    with pytest.raises(ValueError, match="--dataset folder needs --data_root"):
        open_corpus(DataArguments(dataset="folder"))


def test_a_model_name_chooses_the_corpus_unless_a_flag_does(root):
    assert for_corpus(DataArguments(), "MSVD").dataset == "MSVD"
    assert for_corpus(DataArguments(dataset="folder"), "MSVD").dataset == "folder"


def test_features_are_named_or_a_path_or_the_only_ones(root):
    corpus = open_corpus(DataArguments(data_root=str(root)))
    sets = root / "features"
    assert features_dir(DataArguments(), corpus) == sets / "tiny"
    assert features_dir(DataArguments(), corpus, "new") == sets / "new"
    assert features_dir(DataArguments(features="mine"), corpus, "new") == sets / "mine"
    assert str(features_dir(DataArguments(features="./mine"), corpus)) == "mine"
    (sets / "other").mkdir()
    with pytest.raises(ValueError, match="holds other, tiny; choose one with --features NAME"):
        features_dir(DataArguments(), corpus)


def test_without_features_the_program_that_makes_them_is_named(root, tmp_path):
    (tmp_path / "films" / "features").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"extractors/extract.py"):
        features_dir(DataArguments(), open_corpus(DataArguments(data_root=str(root))))
