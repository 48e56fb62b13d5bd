import dataclasses
import hashlib

import pytest

from pretrained import zoo


@pytest.fixture
def record(tmp_path):
    source = tmp_path / "source.bin"
    source.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    record = dataclasses.replace(
        zoo.RECORDS[0], name="made", file="made.bin", size=7, sha256=digest, url=source.as_uri()
    )
    return record


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pretrained"
    folder.mkdir()
    return folder


def test_names_and_aliases_are_unambiguous():
    every = [name for record in zoo.RECORDS for name in {record.name, *record.aliases}]
    assert len(every) == len(set(every))
    assert len({record.file for record in zoo.RECORDS}) == len(zoo.RECORDS)
    assert zoo.find("ViT-B/16").file == "ViT-B-16.pt"
    assert zoo.find("nothing") is None


def test_openai_addresses_carry_their_checksum():
    for record in zoo.RECORDS:
        if "openaipublic" in record.url:
            assert record.url.split("/")[-2] == record.sha256
            assert record.architecture.endswith("-quickgelu")


def test_get_downloads_once_and_verifies(record, folder, tmp_path):
    path = zoo.get(record, folder)
    assert path.read_bytes() == b"weights"
    (tmp_path / "source.bin").unlink()
    assert zoo.get(record, folder) == path
    path.write_bytes(b"weighty")
    assert "sha256" in zoo.problem(record, path)


def test_first_digits_of_a_checksum_are_checked_too(record, folder, capsys, monkeypatch):
    short = dataclasses.replace(record, size=None, sha256=record.sha256[:8])
    monkeypatch.setattr(zoo, "RECORDS", (short,))
    zoo.get(short, folder)
    assert zoo.main(["check"], folder) == 0
    assert f"made.bin: good (sha256 {record.sha256[:8]}... (its first digits))" in capsys.readouterr().out
    (folder / "made.bin").write_bytes(b"other")
    assert zoo.main(["check"], folder) == 1
    assert f"instead of {record.sha256[:8]}" in capsys.readouterr().out


def test_a_wrong_file_is_not_kept(record, folder):
    with pytest.raises(ValueError, match="has 7 bytes instead of 8; nothing was kept"):
        zoo.get(dataclasses.replace(record, size=8), folder)
    assert list(folder.iterdir()) == []


def test_without_a_network_the_address_and_the_place_are_told(record, folder, tmp_path):
    (tmp_path / "source.bin").unlink()
    with pytest.raises(ConnectionError) as error:
        zoo.get(record, folder)
    message = str(error.value)
    assert f"put it at {folder}/made.bin" in message
    assert all(word in message for word in (record.url, "7 bytes", record.sha256, record.licence))
    assert list(folder.iterdir()) == []


def test_command_line(folder, capsys):
    assert zoo.main(["list"], folder) == 0
    listed = capsys.readouterr().out
    for record in zoo.RECORDS:
        (block,) = (
            block for block in listed.split("\n\n") if block.startswith(f"{record.name} ({record.kind}, absent)")
        )
        known = (f"{folder}/{record.file}", record.sha256 or "no checksum is recorded", record.licence, record.url)
        assert all(word in block for word in known) and f"use      {zoo.USES[record.kind]} {record.name}" in block
    for kind in zoo.UNADDRESSED:
        assert f"{kind.name} (checkpoints)" in listed and kind.file in listed and kind.use in listed
    assert ", here)" not in listed
    assert zoo.main(["check"], folder) == 0
    (folder / "ViT-B-32.pt").write_bytes(b"x")
    assert zoo.main(["check"], folder) == 1
    assert "ViT-B-32.pt: has 1 bytes instead of 353,976,522" in capsys.readouterr().out
    assert zoo.main(["list"], folder) == 0
    assert "ViT-B-32-quickgelu (clip, here)" in capsys.readouterr().out
    assert zoo.main(["get", "akg"], folder) == 2
    assert "cannot be fetched: AKG" in (error := capsys.readouterr().err) and "none is recorded" in error
    assert zoo.main(["get", "nothing"], folder) == 2
    assert "known: ViT-B-32-quickgelu" in capsys.readouterr().err
