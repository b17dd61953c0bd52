"""No code of the package can run what a file says: a static scan for the calls that do."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import equipot

PACKAGE = Path(equipot.__file__).parent
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "hickle"}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_CALLS = {
    "torch.load",
    "torch.save",
    "torch.jit.load",
    "torch.package.PackageImporter",
    "torch.hub.load",
    "yaml.load",
    "yaml.load_all",
    "yaml.unsafe_load",
    "yaml.full_load",
    "yaml.unsafe_load_all",
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "numpy.fromfile",
    "np.memmap",
    "pandas.read_pickle",
    "pd.read_pickle",
    "importlib.__import__",
}
FORBIDDEN_LOADERS = {"Loader", "UnsafeLoader", "FullLoader", "CLoader", "CUnsafeLoader", "CFullLoader"}


def violations(source: str) -> list[str]:
    """What a source text does that it must not, as "line: what"."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            full = [f"{module}.{alias.name}" for alias in node.names]
            names = [name for name in full if name in FORBIDDEN_CALLS]
            names += [module] if module.split(".")[0] in FORBIDDEN_MODULES else []
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            names = [name] if name in FORBIDDEN_CALLS | FORBIDDEN_NAMES else []
            for keyword in node.keywords:
                is_true = not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
                if keyword.arg in ("shell", "allow_pickle", "weights_only") and is_true:
                    names.append(f"{keyword.arg}=")
        elif isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_LOADERS and ast.unparse(node.value) == "yaml":
            names = [f"yaml.{node.attr}"]
        found += [f"{getattr(node, 'lineno', 0)}: {name}" for name in names]
    return found


def test_package():
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 20
    found = {str(file.relative_to(PACKAGE)): violations(file.read_text(encoding="utf-8")) for file in files}
    assert {file: lines for file, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import pickle as p",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "eval('1')",
        "exec('1')",
        "import yaml\nyaml.load('x', Loader=yaml.Loader)",
        "yaml.UnsafeLoader",
        "import subprocess\nsubprocess.run('x', shell=True)",
        "np.load('x', allow_pickle=True)",
        "np.load('x', allow_pickle=flag)",
        "os.system('x')",
        "__import__('os')",
        "import joblib",
    ],
)
def test_scan_sees_each(source):
    assert violations(source)


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "re.compile('x')",
        "np.load('x', allow_pickle=False)",
        "subprocess.run(['x'], shell=False)",
        "yaml.SafeLoader",
        "json.load(f)",
    ],
)
def test_scan_lets_pass(source):
    assert not violations(source)


def test_oldest_torch_allowed_is_one_without_known_holes():
    """CVE-2025-32434 and CVE-2026-24747 were closed in 2.6 and 2.10."""
    project = Path(__file__).parents[2] / "pyproject.toml"
    line = next(line for line in project.read_text(encoding="utf-8").splitlines() if '"torch>=' in line)
    minor = int(line.split(">=")[1].split(",")[0].strip('" ').split(".")[1])
    assert minor >= 10
