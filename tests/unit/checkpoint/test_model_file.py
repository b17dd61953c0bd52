"""A model file gives back the same potential bit for bit, or one sentence on why not."""

from __future__ import annotations

import json
import struct
import time

import pytest
import safetensors.torch
import torch
from ase import Atoms

import equipot
from equipot.checkpoint import load_model, model_file, probe, read_model_document, save_model, tensor_file
from equipot.checkpoint.migrations import FORMAT_VERSION, migrate
from equipot.cli.main import main
from equipot.errors import CheckpointError, NumericalError, UsageError
from equipot.graph import from_ase
from equipot.kernels import plans, use
from tests.systems import ARCHITECTURES, CUTOFF, STRUCTURES, force_scale, make_potential
from tests.tolerances import TWIN


@pytest.fixture(scope="module")
def potential():
    return make_potential("mace", "float32")


@pytest.fixture(scope="module")
def content(tmp_path_factory, potential):
    path = tmp_path_factory.mktemp("model") / "model.eqp"
    save_model(path, potential, metadata={"licence": "MIT"})
    return path.read_bytes()


@pytest.fixture
def file(tmp_path, content):
    path = tmp_path / "model.eqp"
    path.write_bytes(content)
    return path


def graph(name: str = "alloy"):
    return from_ase(STRUCTURES[name](), CUTOFF)


def rewrite(path, change) -> None:
    """Change tensors and document as ``change(tensors, document)`` says and write a file with a valid hash."""
    tensors, document = tensor_file.read(path)
    change(tensors, document)
    tensor_file.write(path, tensors, document)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_save_load_predict_is_bitwise(tmp_path, name, dtype):
    potential = make_potential(name, dtype, trainable_scale_shift=dtype == "float64").train()
    save_model(tmp_path / "model.eqp", potential)
    assert potential.training
    loaded = load_model(tmp_path / "model.eqp")
    assert not loaded.training and loaded.config == potential.config and loaded.dtype == getattr(torch, dtype)
    assert set(loaded.state_dict()) == set(potential.state_dict())
    for structure in ("molecule", "alloy", "cell below the cutoff"):
        expected, found = potential(graph(structure)), loaded(graph(structure))
        for key in ("energy", "node_energy", "forces", "stress"):
            a, b = getattr(expected, key), getattr(found, key)
            assert torch.equal(a.nan_to_num(nan=7e7), b.nan_to_num(nan=7e7)), (structure, key)


@pytest.mark.parametrize("name", ["nequip both parities", "mace"])
def test_conversion_between_dtypes(tmp_path, name):
    path = tmp_path / "model.eqp"
    single = make_potential(name, "float32")
    save_model(path, single)
    double = load_model(path, dtype="float64")
    assert double.dtype == torch.float64 and double.config.dtype == "float64"
    a, b = single(graph()), double(graph())
    assert float((a.forces - b.forces).abs().max()) <= TWIN.f * force_scale(b.forces)
    assert float((a.energy - b.energy).abs().max()) <= TWIN.e * graph().num_nodes
    save_model(path, double)
    again = load_model(path, dtype=torch.float32)
    assert all(torch.equal(tensor, again.state_dict()[key]) for key, tensor in single.state_dict().items())


def test_document(file, potential):
    document = read_model_document(file)
    assert document["format"] == "equipot-model" and document["format_version"] == FORMAT_VERSION
    assert document["equipot_version"] == equipot.__version__ and document["created_with"]["e3nn"]
    assert document["elements"] == list(potential.elements) and document["cutoff"] == CUTOFF
    assert document["dtype"] == "float32" and document["architecture"] == "mace"
    assert document["atomic_energies"] == {element: -10.0 * (k + 1) for k, element in enumerate(potential.elements)}
    assert document["num_parameters"] == potential.num_parameters()
    assert document["units"]["energy"] == "eV" and "tension positive" in document["units"]["stress"]
    assert len(document["clebsch_gordan"]["fingerprint"]) >= 8
    assert document["metadata"] == {
        "licence": "MIT",
        "citation": None,
        "training_data": None,
        "metrics": None,
        "atomic_energies_origin": None,
    }


def test_frozen_weights_are_counted(tmp_path, potential):
    frozen = load_model_of(tmp_path / "a.eqp", potential).requires_grad_(False)
    assert frozen.num_trainable_parameters() == 0
    again = load_model_of(tmp_path / "b.eqp", frozen)
    assert again.num_parameters() == again.num_trainable_parameters() == potential.num_parameters() > 0


def load_model_of(path, potential):
    save_model(path, potential)
    return load_model(path)


def test_metadata_goes_round(tmp_path, potential):
    metadata = {
        "licence": "CC-BY-4.0",
        "citation": "Someone, é 2024",
        "training_data": {"train.xyz": "ab12"},
        "metrics": {"forces_mae": 12.5, "stress_mae": float("nan")},
        "own": [1, (2, 3)],
    }
    save_model(tmp_path / "a.eqp", potential, metadata=metadata)
    loaded = load_model(tmp_path / "a.eqp")
    assert loaded.metadata["metrics"] == {"forces_mae": 12.5, "stress_mae": None}
    assert loaded.metadata["own"] == [1, [2, 3]] and loaded.metadata["training_data"] == {"train.xyz": "ab12"}
    save_model(tmp_path / "b.eqp", loaded, metadata=loaded.metadata)
    assert load_model(tmp_path / "b.eqp").metadata == loaded.metadata


def test_top_level_names(file):
    assert torch.equal(equipot.load(file)(graph()).energy, load_model(str(file))(graph()).energy)


def test_weights_that_are_not_finite_are_never_saved(file):
    broken = make_potential("mace", "float32")
    before = file.read_bytes()
    with torch.no_grad():
        next(broken.parameters()).view(-1)[0] = torch.nan
    with pytest.raises(NumericalError, match="is not finite"):
        save_model(file, broken)
    assert file.read_bytes() == before


def some_weight(tensors) -> str:
    return next(name for name in tensors if name.startswith("architecture.") and tensors[name].ndim == 2)


def remove(tensors, document):
    del tensors[some_weight(tensors)]


def add(tensors, document):
    tensors["os.system"] = torch.ones(1)


def reshape(tensors, document):
    name = some_weight(tensors)
    tensors[name] = tensors[name].t().contiguous()[:-1]


def retype(tensors, document):
    name = some_weight(tensors)
    tensors[name] = tensors[name].double()


def set_config(**values):
    return lambda tensors, document: document["config"].update(values)


def set_option(name, value):
    return lambda tensors, document: document["config"]["options"].__setitem__(name, value)


def set_key(name, value):
    return lambda tensors, document: document.__setitem__(name, value)


def delete_key(name):
    return lambda tensors, document: document.__delitem__(name)


def nest(depth):
    value = 1
    for _ in range(depth):
        value = {"a": value}
    return value


MISFITS = [
    (remove, ["is missing"]),
    (add, ["os.system is not part of the model"]),
    (reshape, ["has shape", "expected"]),
    (retype, ["is torch.float64, expected torch.float32"]),
    (set_key("format", "other"), ["of format 'other'"]),
    (set_key("format_version", 3), ["format version 3", "reads up to 2", "update equipot"]),
    (set_key("format_version", "1"), ["format version is '1'"]),
    (set_key("format_version", True), ["format version is True"]),
    (set_key("format_version", 0), ["format version is 0"]),
    (set_key("kind", "x"), None),  # an unknown key of the document is none of the loader's business
    (delete_key("config"), ["'config' is missing"]),
    (delete_key("probe"), ["'probe' is missing"]),
    (set_key("probe", ["a"]), ["'probe' is not a list of energies"]),
    (set_key("probe", [0.0] * 8), ["test cluster", "Install the versions"]),
    (set_key("probe", [0.0]), ["test cluster"]),
    (set_key("elements", ["Cu"]), ["the document says elements ['Cu']"]),
    (set_key("cutoff", 5.0), ["the document says cutoff 5.0"]),
    (set_key("dtype", "float64"), ["the document says dtype 'float64'"]),
    (set_key("num_parameters", 3), ["says 3 parameters"]),
    (set_key("metadata", []), ["'metadata' is missing or not what it should be"]),
    (set_config(architecture="os.system"), ["'os.system'", "mace, nequip"]),
    (set_config(architecture="nequip"), ["not a known key"]),
    (set_config(elements=["Cu", "H"]), ["sorted by atomic number"]),
    (set_config(elements=["Qq"]), ["'Qq'"]),
    (set_config(cutoff=-1.0), ["cutoff is -1.0"]),
    (set_config(dtype="float16"), ["'float16'"]),
    (set_config(__class__="x"), ["__class__ is not a known key"]),
    (set_option("__init__", 1), ["__init__ is not a known key"]),
    (set_option("num_channels", 10**9), ["num_channels is 1000000000"]),
    (set_option("num_channels", 1e9), ["num_channels is 1000000000.0"]),
    (set_option("num_channels", "8"), ["num_channels is the text '8'"]),
    (set_option("num_layers", 10**6), ["num_layers is 1000000"]),
    (set_option("num_channels", nest(100)), ["num_channels is a mapping"]),
    (set_config(elements=["Q" * 20_000]), ["QQQ", "not the symbol"]),
    (lambda tensors, document: tensors["scale"].fill_(torch.inf), ["scale is not finite"]),
    (set_option("num_channels", 4096), ["far more than the file holds"]),
    (lambda tensors, document: document["atomic_energies"].update(H=1.0), ["atomic energies"]),
    (lambda tensors, document: tensors["atomic_energies"].add_(1.0), ["atomic energies"]),
    (lambda tensors, document: document["clebsch_gordan"].update(l_max=9), ["Clebsch-Gordan signs"]),
]


@pytest.mark.parametrize(("change", "parts"), MISFITS, ids=[str(parts) for _, parts in MISFITS])
def test_misfits_are_refused_with_the_difference(file, change, parts):
    rewrite(file, change)
    start = time.monotonic()
    if parts is None:
        load_model(file)
        return
    with pytest.raises(CheckpointError) as caught:
        load_model(file)
    assert time.monotonic() - start < 20
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_other_elements_with_other_shapes(file):
    def change(tensors, document):
        document["config"]["elements"] = document["elements"] = ["H", "C", "O"]

    rewrite(file, change)
    with pytest.raises(CheckpointError, match=r"do not fit the model it describes: .*shape"):
        load_model(file)


def test_many_differences_are_counted(file):
    rewrite(file, lambda tensors, document: tensors.clear())
    with pytest.raises(CheckpointError, match=r"is missing; .*and \d+ more\."):
        load_model(file)


def test_another_sign_of_the_clebsch_gordan_coefficients(file, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(model_file, "wigner_3j_fingerprint", lambda l_max: "other")
        with pytest.raises(CheckpointError, match=r"written with e3nn .* other signs than those of the installed e3nn"):
            load_model(file)
        assert read_model_document(file)["clebsch_gordan"]["e3nn"]
    load_model(file)


def test_a_changed_sign_shows_in_the_probe_too(tmp_path, monkeypatch):
    """As if the fingerprint had not covered it: the cluster's energies differ."""
    path = tmp_path / "model.eqp"
    save_model(path, make_potential("nequip rotations only", "float32"))
    real = plans.wigner_3j
    monkeypatch.setattr(plans, "wigner_3j", lambda *l: -real(*l) if l == (1, 1, 1) else real(*l))
    monkeypatch.setattr(model_file, "_check_signs", lambda *_: None)
    # The native kernels keep the tables they have seen in this process.
    with use("reference"), pytest.raises(CheckpointError, match="on its test cluster the model's energies differ"):
        load_model(path)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_probe_does_not_depend_on_the_dtype(name):
    single = make_potential(name, "float32")
    stored = probe.probe_energies(single)
    probe.check_probe(single.to_dtype("float64"), stored, "x", "x")
    with pytest.raises(CheckpointError, match="differ"):
        probe.check_probe(single, [1.0001 * energy for energy in stored], "x", "x")


def test_checkpoint_is_not_a_model(tmp_path):
    tensor_file.write(tmp_path / "x", {"a": torch.ones(1)}, {"kind": "training"})
    with pytest.raises(CheckpointError, match="a training checkpoint, not a model"):
        load_model(tmp_path / "x")


def test_deep_document_behind_a_valid_header(file):
    content = file.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"]["equipot"] = '{"a":' * 1000 + "1" + "}" * 1000
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    for read in (load_model, read_model_document):
        with pytest.raises(CheckpointError, match="damaged"):
            read(file)


def test_damage(file):
    content = file.read_bytes()
    for offset in range(0, len(content), 1024):
        file.write_bytes(content[:offset])
        with pytest.raises(CheckpointError):
            load_model(file)
    for offset in range(11, len(content), 4001):
        damaged = bytearray(content)
        damaged[offset] ^= 16
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            load_model(file)


@pytest.mark.parametrize(
    "arguments",
    [{"device": "gpu"}, {"device": "tpu:0"}, {"dtype": "float16"}, {"dtype": torch.int32}, {"device": None}],
)
def test_wrong_arguments(file, arguments):
    with pytest.raises(UsageError):
        load_model(file, **arguments)


def test_loading_changes_no_global_state(file):
    state, dtype, threads = torch.random.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
    with torch.no_grad():
        loaded = load_model(file)
        save_model(file, loaded)
        assert not torch.is_grad_enabled()
    assert torch.equal(state, torch.random.get_rng_state())
    assert dtype == torch.get_default_dtype() and threads == torch.get_num_threads()


def test_migrations_run_one_after_another(file, monkeypatch):
    """A file of version 1 opened by a package whose present version is 3."""

    def one(document, tensors):
        document = {**document, "clebsch_gordan": document["clebsch_gordan"] | {"note": "1 to 2"}}
        return document, None if tensors is None else {f"x.{name}": tensor for name, tensor in tensors.items()}

    def two(document, tensors):
        document = {**document, "steps": document["clebsch_gordan"]["note"] + " to 3"}
        return document, None if tensors is None else {name[2:]: tensor for name, tensor in tensors.items()}

    before = load_model(file)(graph()).energy
    monkeypatch.setattr("equipot.checkpoint.migrations.MIGRATIONS", {1: one, 2: two})
    monkeypatch.setattr("equipot.checkpoint.migrations.FORMAT_VERSION", 3)
    document = read_model_document(file)
    assert document["format_version"] == 3 and document["steps"] == "1 to 2 to 3"
    assert torch.equal(load_model(file)(graph()).energy, before)
    with pytest.raises(CheckpointError, match="format version 1 can no longer be read"):
        migrate({"format_version": 1}, None, where="x", migrations={2: two}, target=3)


def test_atoms_of_the_probe_are_apart(potential):
    """The test cluster is one a potential can be evaluated on, and chiral."""
    positions = torch.tensor(probe._POSITIONS, dtype=torch.float64)
    distances = torch.pdist(positions)
    assert distances.min() > 0.3 and Atoms("Cu8", positions.numpy()).get_moments_of_inertia().min() > 0
    sorted_distances = torch.cdist(positions, positions).sort(dim=1).values
    assert torch.pdist(sorted_distances).min() > 1e-3  # no two atoms see the same surroundings: no symmetry at all


def test_files_of_far_too_many_parts_are_refused_at_once(tmp_path):
    """700 000 tensors took 12 s to be refused, a list of 100 000 layers 18 s."""
    save_model(tmp_path / "model.eqp", make_potential("nequip spline"))
    tensors, document = tensor_file.read(tmp_path / "model.eqp")
    with pytest.raises(CheckpointError, match="more than the"):
        tensor_file.write(tmp_path / "many.eqp", {f"t{number}": torch.zeros(1) for number in range(25_000)}, document)
    path = tmp_path / "many.safetensors"
    safetensors.torch.save_file({f"t{number}": torch.zeros(1) for number in range(25_000)}, path)
    begin = time.perf_counter()
    for read in (load_model, read_model_document):
        with pytest.raises(CheckpointError, match="holds 25000 tensors, more than the"):
            read(path)
    document["config"]["options"]["radial_hidden"] = [8] * 100_000
    tensor_file.write(tmp_path / "long.eqp", tensors, document)
    for read in (load_model, read_model_document):
        with pytest.raises(CheckpointError, match="radial_hidden has a length of 100000"):
            read(tmp_path / "long.eqp")
    assert time.perf_counter() - begin < 10.0


def test_facts_of_a_damaged_file_are_not_told(tmp_path):
    """84 of 405 damaged files told their changed metadata as if nothing had happened."""
    path = tmp_path / "model.eqp"
    save_model(path, make_potential("nequip spline"), metadata={"licence": "CC-BY-4.0", "citation": "A. Author"})
    whole = path.read_bytes()
    for old, new in ((b"CC-BY-4.0", b"CC-BY-9.0"), (b"A. Author", b"B. Author"), (whole[-8:], bytes(8))):
        assert whole.count(old) >= 1
        path.write_bytes(new.join(whole.rsplit(old, 1)))
        with pytest.raises(CheckpointError, match="damaged"):
            read_model_document(path)
        assert main(["info", str(path)]) == 1
