"""Keys that are named are asked of a set of files, not of each: so isolated atoms may have a file of their own."""

from __future__ import annotations

import json

import pytest

from equipot.cli.main import main
from equipot.config.schema import DataConfig, KeysConfig
from equipot.data import load_datasets, read_frames
from equipot.errors import DataError

BULK_HEADER = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:my_f:R:3 my_e={energy} pbc="T T T"'
KEYS = {"energy": "my_e", "forces": "my_f"}


@pytest.fixture
def folder(tmp_path):
    bulk = "".join(
        f"2\n{BULK_HEADER.format(energy=-7 + 0.1 * number)}\nCu 0 0 0 0.1 0 0\nCu {1.5 + 0.1 * number} 2 2 -0.1 0 0\n"
        for number in range(10)
    )
    (tmp_path / "bulk.xyz").write_text(bulk)
    (tmp_path / "atom.xyz").write_text('1\nProperties=species:S:1:pos:R:3 my_e=3.51 pbc="F F F"\nCu 0 0 0\n')
    return tmp_path


def test_isolated_atoms_in_a_file_of_their_own(folder):
    config = DataConfig(train=("bulk.xyz", "atom.xyz"), keys=KeysConfig(**KEYS))
    data = load_datasets(config, 4.0, config_directory=folder)
    assert data.atomic_energies.values == {"Cu": pytest.approx(3.51)}
    assert len(data.isolated) == 1 and not any("my_f" in warning for warning in data.warnings)


def test_a_key_in_none_of_the_files_is_refused_with_the_keys_of_all(folder):
    config = DataConfig(train=("atom.xyz", "bulk.xyz"), keys=KeysConfig(energy="my_e", forces="my_ff"))
    with pytest.raises(DataError, match=r"atom\.xyz, bulk\.xyz: the key 'my_ff' .* Did you mean 'my_f'\?"):
        load_datasets(config, 4.0, config_directory=folder)
    with pytest.raises(DataError, match=r"atom\.xyz: the key 'my_f'"):
        read_frames(folder / "atom.xyz", keys=KeysConfig(**KEYS))  # alone it has to have them


def test_a_file_of_bound_atoms_without_the_key_is_named(folder):
    text = (
        (folder / "bulk.xyz").read_text().replace("my_f", "their_f").replace("my_e", "virial='1 0 0 0 1 0 0 0 1' my_e")
    )
    (folder / "more.xyz").write_text(text)
    keys = KeysConfig(**KEYS, stress="my_s")
    (folder / "bulk.xyz").write_text(
        (folder / "bulk.xyz").read_text().replace("my_e", 'my_s="0.1 0 0 0 0.1 0 0 0 0.1" my_e')
    )
    data = load_datasets(DataConfig(train=("bulk.xyz", "more.xyz"), keys=keys), 4.0, config_directory=folder)
    assert any("more.xyz: the key 'my_f' asked for as forces is in no frame" in text for text in data.warnings)
    everything = data.frames["train"] + data.frames["validation"] + data.frames["test"]
    more = [frame for frame in everything if frame.source.startswith("more")]
    assert more and not any(frame.has("forces") or frame.has("stress") for frame in more)  # no virial in its place


def test_data_check_reads_the_files_as_one_set(folder, capsys):
    names = [str(folder / "bulk.xyz"), str(folder / "atom.xyz")]
    main(["data", "check", *names, "--json", "--keys", "energy=my_e", "forces=my_f"])
    found = json.loads(capsys.readouterr().out)
    assert [file["coverage"]["energy"] for file in found["files"]] == [[10, 10], [1, 1]]
    assert main(["data", "check", *names, "--keys", "energy=my_x"]) == 1
    assert "the key 'my_x'" in capsys.readouterr().err
