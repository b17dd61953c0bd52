"""The benchmark against peers without its peers: structures, conversation with workers, rows, tables, arguments."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "benchmarks"

FAKE_WORKER = f"""
import sys, time
sys.path.insert(0, {str(SCRIPTS)!r})
print("a package says hello on standard output")
from peers.protocol import Peer, serve

class Fake(Peer):
    distributions = ("numpy",)

    def build(self, settings):
        print("and again while it builds")
        if settings["size"] == "S":
            raise ValueError("this size is not for me")
        return {{"parameters": 7}}

    def inference(self, case):
        if case == "ta54":
            sys.exit("a sudden end")
        delay = 60 if case == "ta1000" else 0.002
        return (lambda call: call), (lambda call: time.sleep(delay)), 2

    def training(self, batch):
        return (lambda: 3), (lambda value: value / 2)

serve(Fake())
"""


@pytest.fixture(scope="module", autouse=True)
def scripts_on_path():
    sys.path.insert(0, str(SCRIPTS))
    yield
    sys.path.remove(str(SCRIPTS))
    for name in [name for name in sys.modules if name.split(".")[0] in ("peers", "benchmark_peers")]:
        del sys.modules[name]


def module(name: str):
    return importlib.import_module(name)


def test_structures() -> None:
    structures = module("peers.structures")
    sizes = {case: structures.num_atoms(case) for case in (*structures.STRUCTURES, *structures.BATCHES)}
    assert sizes == {
        "ta54": 54,
        "ta250": 250,
        "ta1000": 1000,
        "cu108": 108,
        "si64": 64,
        "si512": 512,
        "molecule21": 21,
        "nacl64": 64,
        "cu250": 250,
        "train-ta54": 270,
        "train-molecules": 168,
    }
    assert {
        symbol
        for case, (_, make) in structures.STRUCTURES.items()
        for symbol in make().symbols
        if case not in structures.PRETRAINED_CASES
    } == set(structures.ELEMENTS)


def test_hexanol_is_hexanol() -> None:
    molecule = module("peers.structures").hexanol()
    assert molecule.get_chemical_formula() == "C6H14O"
    first, second, distance = neighbor_list("ijd", molecule, 1.7)
    assert distance.min() > 0.9 and distance.max() < 1.6
    bonds = np.bincount(first, minlength=len(molecule))
    assert [sorted(set(bonds[molecule.symbols == symbol])) for symbol in "CHO"] == [[4], [1], [2]]
    assert len(first) == len(second) == 2 * 20


def test_motion_moves_a_little_every_call_and_is_the_same_for_everyone() -> None:
    structures = module("peers.structures")
    one, other = structures.Motion("ta54"), structures.Motion("ta54")
    before = one.place(4).positions.copy()
    step = one.place(5).positions - before
    assert np.array_equal(one.place(5).positions, other.place(5).positions)
    assert 1e-3 < np.abs(step).mean() < 0.02 and np.abs(step).max() < 0.05
    assert one.place(5) is one.atoms


def test_training_frames() -> None:
    frames = module("peers.structures").training_frames("train-ta54")
    again = module("peers.structures").training_frames("train-ta54")
    assert len(frames) == 5 and np.array_equal(frames[3].forces, again[3].forces)
    assert np.array_equal(frames[3].atoms.positions, again[3].atoms.positions)
    assert np.array_equal(frames[0].stress, frames[0].stress.T) and frames[0].forces.shape == (54, 3)
    molecules = module("peers.structures").training_frames("train-molecules")
    assert len(molecules) == 8 and molecules[0].stress is None


@pytest.fixture
def fake(tmp_path):
    """A function that starts a worker of FAKE_WORKER."""
    driver, started = module("peers.driver"), []
    (tmp_path / "fake.py").write_text(FAKE_WORKER)

    def start(name: str = "fake"):
        log = tmp_path / "logs" / f"{name}.log"
        started.append(driver.Worker(name, [sys.executable, str(tmp_path / "fake.py")], 1, log))
        return started[-1]

    yield start
    for worker in started:
        worker.stop()


def test_conversation(fake) -> None:
    driver, worker = module("peers.driver"), fake()
    with pytest.raises(driver.PeerError, match="ValueError: this size is not for me"):
        worker.ask({"command": "build", "size": "S"}, 60)
    built = worker.ask({"command": "build", "size": "M"}, 60)
    assert built["parameters"] == 7 and built["versions"] == {"numpy": np.__version__}
    answer = worker.ask({"command": "run", "case": "cu108", "calls": 5}, 60)
    assert len(answer["wall"]) == len(answer["cpu"]) == 5
    assert min(answer["wall"]) >= 0.001, "two steps of a millisecond in each call"
    assert max(answer["cpu"]) < 0.001 and answer["memory_mb"] > 1
    assert worker.ask({"command": "run", "case": "train-ta54", "calls": 2}, 60)["value"] == 1.5


def test_one_worker_that_fails_does_not_stop_the_others(fake) -> None:
    driver, said = module("peers.driver"), []
    good, bad = fake("good"), fake("bad")
    workers = [good, bad]
    assert {
        name: result.error
        for name, result in driver.run_case([good], "cu108", turns=3, seconds=0.01, timeout=60, say=said.append).items()
    } == {"good": None}
    with pytest.raises(driver.PeerError):
        bad.ask({"command": "run", "case": "ta54", "calls": 1}, 60)
    results = driver.run_case(workers, "cu108", turns=3, seconds=0.01, timeout=60, say=said.append)
    assert list(results) == ["good", "bad"] and "a sudden end" in results["bad"].error
    assert results["good"].error is None and len(results["good"].wall) % 3 == 0 and results["good"].first_call_s > 0
    turns = [line for line in said if "turn" in line]
    assert turns[0].endswith("turn 1 of 3, good") and not any("bad" in line for line in turns)


def test_a_worker_that_hangs_is_ended(fake) -> None:
    driver, worker = module("peers.driver"), fake()
    worker.ask({"command": "build", "size": "M"}, 60)
    with pytest.raises(driver.PeerError, match="no answer within 0 s"):
        worker.ask({"command": "run", "case": "ta1000", "calls": 1}, 0.2)
    with pytest.raises(driver.PeerError, match="no answer in an earlier case"):
        worker.ask({"command": "build", "size": "M"}, 60)


def test_calls_per_turn() -> None:
    calls = module("peers.driver").calls_per_turn
    assert [calls(seconds, 0.5) for seconds in (10.0, 0.1, 1e-6, 0.0)] == [1, 5, 50, 50]


GROUP = {"architecture": "nequip", "size": "S", "dtype": "float32", "threads": 1}


def measured(threads: int = 1):
    measurement = module("peers.driver").Measurement
    results = {
        "equipot": measurement([0.004, 0.002, 0.003], [0.001, 0.003, 0.002], 100.0),
        "equipot mlp": measurement([0.008] * 2, [0.004] * 2, 120.0),
        "nequip": measurement([0.03] * 4, [0.02, 0.02, 0.04, 0.04], 700.0, first_call_s=95.0),
        "sevenn": measurement(error="RuntimeError: no\nmore lines"),
    }
    return module("peers.table").make_rows({**GROUP, "threads": threads}, "ta250", results)


def test_rows() -> None:
    rows = measured()
    assert [row["package"] for row in rows] == ["equipot", "equipot mlp", "nequip", "sevenn"]
    first, variant, peer, failed = rows
    assert first["time_ms"] == pytest.approx(2.0) and first["clock"] == "cpu" and first["ratio"] == 1.0
    assert first["cpu_ms"] == pytest.approx([1.5, 2.0, 2.5]) and first["wall_ms"] == pytest.approx([2.5, 3.0, 3.5])
    assert first["us_per_atom"] == pytest.approx(8.0) and first["num_calls"] == 3
    assert variant["ratio"] == pytest.approx(2.0) and peer["ratio"] == pytest.approx(15.0)
    assert failed == {**GROUP, "case": "ta250", "package": "sevenn", "error": "RuntimeError: no\nmore lines"}
    # With several threads processor time counts waiting threads: the wall clock decides.
    assert [row.get("ratio") for row in measured(threads=2)] == pytest.approx([1.0, 8 / 3, 10.0, None])


def test_rows_without_equipot_have_no_ratio() -> None:
    results = {
        "equipot": module("peers.driver").Measurement(error="broken"),
        "nequip": module("peers.driver").Measurement([0.1], [0.1]),
    }
    rows = module("peers.table").make_rows(GROUP, "ta54", results)
    assert "ratio" not in rows[1] and rows[1]["time_ms"] == pytest.approx(100.0)


@pytest.fixture
def document():
    package = {
        "group": "nequip architecture, S, float32, 1 thread",
        "versions": {"nequip": "0.19.1"},
        "note": "compiled in 95 s",
    }
    machine = {
        "cpu": "A CPU",
        "cores": 2,
        "memory_gb": 24.0,
        "system": "Linux",
        "python": "3.11",
        "load_before": "0.1",
        "load_after": "1.2",
    }
    return {
        "rows": [*measured(), *measured(threads=2)],
        "packages": {"nequip": [package]},
        "machine": machine,
        "date": "2026-01-01",
    }


def test_tables(document) -> None:
    tables = module("peers.table").make_tables(document["rows"])
    assert [table.title for table in tables] == [
        "nequip architecture, S, float32, 1 thread",
        "nequip architecture, S, float32, 2 threads",
    ]
    table = tables[0]
    assert table.rows[0] == ("Ta, 250 atoms", "equipot", "2.00", "1.50–2.50", "8.00", "0.67", "100", "1.00")
    assert table.rows[2] == ("", "nequip", "30.0", "20.0–40.0", "120", "1.00", "700", "15.0")
    assert table.rows[3][1:3] == ("sevenn", "–") and table.note == "sevenn, Ta, 250 atoms: RuntimeError: no"
    assert table.strong_rows == {0, 1} and {len(row) for row in table.rows} == {len(table.columns)}


def test_markdown_and_notes(document) -> None:
    text = module("peers.table").markdown(json.loads(json.dumps(document)))
    assert "| **Ta, 250 atoms** | **equipot** | **2.00** |" in text
    assert "|  | nequip | 30.0 | 20.0–40.0 | 120 | 1.00 | 700 | 15.0 |" in text
    notes = "\n".join(module("peers.table").notes(document))
    for sentence in (
        "first of its variants",
        "32x0e+32x1o",
        "64x0e+64x1o+64x2e",
        "self-connection",
        "nequip: nequip 0.19.1",
        "compiled in 95 s",
        "Machine: A CPU, 2 cores, 24 GB",
        "First call (compilation): nequip",
    ):
        assert sentence in notes, sentence
    assert notes in text.replace("\n- ", "\n")


def test_every_package_says_how_it_differs() -> None:
    names = {"equipot", *module("peers.environments").PACKAGES}
    assert set(module("peers.matched").DIFFERENCES) == names


def test_arguments() -> None:
    parse = module("benchmark_peers").arguments
    full, quick = parse([]), parse(["--quick"])
    assert full.cases == list(module("benchmark_peers").CASES) and full.dtypes == ("float32", "float64")
    assert full.packages == ["mace-torch", "nequip", "sevenn", "snap"] and full.repeats == 7
    assert quick.cases == ["ta54", "ta250", "train-ta54", "nacl64"] and quick.threads == (1,) and quick.repeats == 3
    assert parse(["--quick", "--threads", "2", "--repeats", "9"]).threads == [2]
    only = parse(["--only", "ta1000", "snap", "nequip-compiled"])
    assert only.cases == ["ta1000"] and only.packages == ["snap", "nequip-compiled"]
    assert "nequip-compiled" in parse(["--compiled"]).packages


@pytest.mark.parametrize(
    "words", [["--only", "gold"], ["--repeats", "0"], ["--threads", "0"], ["--turn", "0"], ["--sizes", "XL"]]
)
def test_wrong_arguments(words, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        module("benchmark_peers").arguments(words)
    assert stop.value.code == 2 and "usage:" in capsys.readouterr().err


def test_environments(tmp_path, monkeypatch) -> None:
    environments = module("peers.environments")
    here = environments.Package("here", (f"numpy=={np.__version__}", "ase"), "none")
    old = environments.Package("here", ("numpy==0.1",), "none")
    assert not environments.is_installed(tmp_path, here)
    monkeypatch.setattr(environments, "python_of", lambda folder, package: Path(sys.executable))
    assert environments.is_installed(tmp_path, here) and not environments.is_installed(tmp_path, old)
    assert environments.install(tmp_path, here, None, pytest.fail) == Path(sys.executable)
    broken = environments.Package("broken", ("no-such-distribution-of-equipot @ file:///nowhere",), "none")
    monkeypatch.setattr(environments.sys, "executable", "/nonexistent/python")
    with pytest.raises((environments.InstallError, OSError)):
        environments.install(tmp_path, broken, None, lambda text: None)


def test_compiled_models_are_not_used_for_other_models(monkeypatch) -> None:
    matched = module("peers.matched")
    before = matched.fingerprint()
    monkeypatch.setattr(matched, "CUTOFF", 4.0)
    assert matched.fingerprint() != before


@pytest.mark.parametrize("architecture", ["nequip", "mace"])
def test_equipot_worker_builds_the_matched_model(architecture) -> None:
    worker, matched = module("peers.equipot_worker"), module("peers.matched")
    settings = {"architecture": architecture, "size": "M", "dtype": "float64", "threads": 1, "radial": "mlp"}
    options = worker.options(settings)
    assert options["num_channels"] == 64 and options["num_layers"] == options["l_max"] == 2
    assert tuple(options["radial_hidden"]) == matched.RADIAL_HIDDEN[architecture]
    assert options["feature_l_max"] == matched.SIZES["M"].feature_l_max[architecture]


def test_who_takes_part_in_what() -> None:
    plan = module("peers.plan")
    cases = list(module("benchmark_peers").CASES)
    peers = ("equipot", "equipot mlp", *module("peers.environments").PACKAGES)
    matched_group, pretrained = ({"architecture": "nequip", "size": size} for size in ("S", "converted"))
    assert plan.group_cases(pretrained, cases) == ["nacl64", "cu250"]
    assert plan.group_cases(matched_group, cases) == cases[:7] + cases[9:]
    assert [name for name in peers if plan._takes_part(name, matched_group)] == [
        "equipot",
        "equipot mlp",
        "nequip",
        "nequip-compiled",
        "sevenn",
        "snap",
    ]
    assert [name for name in peers if plan._takes_part(name, pretrained)] == ["equipot", "equipot mlp", "sevenn"]
    mace = {"architecture": "mace", "size": "converted"}
    assert [name for name in peers if plan._takes_part(name, mace)] == ["equipot", "equipot mlp", "mace-torch"]


@pytest.mark.parametrize("fails", [False, True])
def test_equipot_takes_in_the_checkpoint_of_the_peer(fails, tmp_path, monkeypatch) -> None:
    """The peer builds first and says where its checkpoint is; equipot's worker gets it, or None."""
    plan, asked = module("peers.plan"), {}

    class Worker:
        def __init__(self, name, *rest) -> None:
            self.name = name

        def ask(self, request, timeout):
            asked[self.name] = request
            if fails and self.name == "mace-torch":
                raise plan.PeerError("not today")
            return {"checkpoint": "a.model"} if self.name == "mace-torch" else {}

        def stop(self) -> None:
            pass

    monkeypatch.setattr(plan, "Worker", Worker)
    group = {"architecture": "mace", "size": "converted", "dtype": "float32", "threads": 1}
    args = module("benchmark_peers").arguments(["--environments", str(tmp_path)])
    pythons = dict.fromkeys(("mace-torch", "sevenn"), Path("python"))
    with contextlib.ExitStack() as stack:
        workers = plan._start(plan.Plan([group], [], [], [("", "")]), group, pythons, args, stack, {}, print)
    assert list(asked) == ["mace-torch", "equipot"] and asked["equipot"]["checkpoint"] == (None if fails else "a.model")
    assert list(workers) == list(asked)[fails:]


def test_equipot_worker_runs_a_converted_model() -> None:
    file = Path(__file__).parents[1] / "data" / "foreign" / "mace_mp0.model"
    peer = module("peers.equipot_worker").Equipot()
    settings = {"architecture": "mace", "size": "converted", "dtype": "float64", "threads": 1, "checkpoint": str(file)}
    assert peer.build(settings)["parameters"] > 0
    prepare, step, steps = peer.inference("cu250")
    assert np.isfinite(step(prepare(0))) and steps == 1
    with pytest.raises(ValueError, match="mace-torch has no shape of MACE-MP-0"):
        peer.build(settings | {"checkpoint": None})


def test_a_run_with_equipot_alone(tmp_path, monkeypatch, capsys) -> None:
    """The whole program, without peers: its worker is a real process."""
    words = [
        "--only",
        "molecule21",
        "train-molecules",
        "--environments",
        str(tmp_path),
        "--architectures",
        "nequip",
        "--sizes",
        "S",
        "--dtypes",
        "float64",
        "--threads",
        "1",
        "--repeats",
        "1",
        "--turn",
        "0.01",
        "--json",
        str(tmp_path / "out.json"),
        "--markdown",
        str(tmp_path / "out.md"),
    ]
    program = module("benchmark_peers")
    monkeypatch.setattr(sys, "argv", ["benchmark_peers.py", *words])
    monkeypatch.setattr(program, "PACKAGES", {})
    program.main()
    printed = capsys.readouterr()
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [(row["package"], row["case"], row["ratio"]) for row in rows] == [
        ("equipot", "molecule21", 1.0),
        ("equipot", "train-molecules", 1.0),
    ], rows
    assert "1-hexanol, 21 atoms" in printed.out and "done" in printed.err
    assert "## nequip architecture, S, float64, 1 thread" in (tmp_path / "out.md").read_text()
