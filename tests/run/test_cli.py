"""The command line: every mistake is one line that names the flag and the remedy, and the package trains without a checkout."""

import os
import subprocess
import sys

import pytest
from absl import flags
from conftest import ROOT
from ml_collections import config_flags

from gan_jax.errors import InputError
from gan_jax.files import read_jsonl
from gan_jax.run.checks import flatten
from gan_jax.run.cli import check_overrides, load_config

MNIST = str(ROOT / "experiments" / "configs" / "mnist.py")
DEFAULT = "from gan_jax.configs import default\ndef get_config():\n  config = default.get_config()\n"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.num_stepz=3", "--config.num_stepz: no such entry; did you mean num_steps"),
        ("--config.network.bas_width=3", "--config.network.bas_width: no such entry"),
        ("--noconfig.data.flipp", "no such entry; did you mean data.flip"),
        ("--config.watch=warn", "its entries are watch.action, watch.diversity, watch.steps"),
    ],
)
def test_an_override_of_no_entry_is_refused_with_the_nearest_one(argument, message):
    with pytest.raises(InputError, match=message):
        check_overrides(["train.py", f"--config={MNIST}", argument])
    with pytest.raises(InputError, match=message):
        check_overrides(["train.py", "--config", MNIST, *argument.split("=")])


@pytest.mark.parametrize("argument", ["--config.num_steps=3", "--config.data.flip", "--noconfig.data.flip"])
def test_overrides_of_entries_pass(argument):
    check_overrides(["train.py", f"--config={MNIST}", argument])
    check_overrides(["train.py", "--config", MNIST, *argument.split("=")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:", "SyntaxError"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1", "KeyError: 'get_config'"),
        ("def get_config(): return None", r"get_config\(\) must return a ConfigDict"),
        (f"{DEFAULT}  config.num_step = 3\n  return config", "num_step"),
        (f"{DEFAULT}  config.num_steps = 'x'\n  return config", "TypeError"),
    ],
)
def test_broken_config_files_are_named_with_what_is_wrong(tmp_path, text, message):
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        load_config(str(tmp_path / "broken.py"))
    assert "broken.py" in str(error.value)


def test_missing_config_files_are_named_with_those_that_exist():
    with pytest.raises(InputError, match=r"give a config file"):
        check_overrides(["train.py"])
    with pytest.raises(InputError, match=r"configs: no such file; there is .*mnist\.py"):
        check_overrides(["train.py", f"-config={MNIST.rpartition('/')[0]}"])
    with pytest.raises(InputError, match=r"mnst\.py: no such file; there is .*mnist\.py"):
        check_overrides(["train.py", f"--config={MNIST.replace('mnist', 'mnst')}"])


SHORT = {"num_steps": 2, "data.image_size": 8, "network.dcgan.base_width": 4, "batch_size": 8, "eval_every": 0}
SHORT |= {"optimizer.final_learning_rate": 1e-5, "schedule.images": 16, "network.gen.name": "mlp"}
SHORT |= {"penalty.r1": 1, "penalty.final_r1": 0.1, "network.disc.dcgan.norm": "none"}


@pytest.mark.parametrize(("text", "size"), [("64", 64), ("32,64", (32, 64)), ("(28, 28)", (28, 28))])
def test_an_image_size_on_the_command_line(text, size):
    values = flags.FlagValues()
    arguments = ["train.py", f"--config={MNIST}", f"--config.data.image_size={text}"]
    holder = config_flags.DEFINE_config_file("config", flag_values=values, lock_config=True, sys_argv=arguments)
    values(arguments)
    assert holder.value.data.image_size == size


def run_module(folder, *arguments):
    command = [sys.executable, "-m", "gan_jax.run", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_package_trains_without_a_checkout(tmp_path):
    """With entries that are None by default, entries of both players, and entries of one."""
    done = run_module(tmp_path, "--workdir=run", *(f"--config.{key}={entry}" for key, entry in SHORT.items()))
    assert done.returncode == 0, done.stderr
    (row,) = read_jsonl(tmp_path / "run" / "runs.jsonl")
    config = flatten(row["config"])
    assert (row["to_step"], config["objective"]) == (2, "non_saturating")
    assert {key: config[key] for key in SHORT} == SHORT
    assert [config[f"optimizer.{player}.final_learning_rate"] for player in ("gen", "disc")] == [1e-5, 1e-5]
    assert [config[f"network.{player}.dcgan.base_width"] for player in ("gen", "disc")] == [4, 4]
    assert [config[f"network.{player}.name"] for player in ("gen", "disc")] == ["mlp", "dcgan"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--workdir=x", "--config.num_stepz=3"), "error: --config.num_stepz: no such entry; did you mean num_steps?"),
        (("--workdir=x", "--config.num_steps=abc"), "error: flag --config.num_steps=abc: invalid literal for int()"),
        (("--workdir=x", "--config.penalty.final_r1=a"), "error: flag --config.penalty.final_r1=a: could not convert string"),
        (("--workdir=x", "--process_id=1"), "error: --coordinator, --num_processes and --process_id need --distributed"),
        (("--workdr=x",), "error: --workdr: no such flag; did you mean workdir?"),
        ((), "error: --workdir: give a folder for the run"),
        ((f"--config={'a' * 5000}",), f"error: --config={'a' * 100}… (5000 characters): File name too long"),
        (("--flagfile=/nonexistent",), "error: command line: ERROR:: Unable to open flagfile: "),
        (("--workdir=x", "--config.=3"), "error: --config.: no such entry"),
        (("--workdir=x", f"--config.network.mlp.hidden={'(' * 5000}"), "error: "),
    ],
)
def test_a_mistake_is_one_line_and_status_2(tmp_path, arguments, message):
    done = run_module(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_a_config_without_an_entry_or_a_home_is_one_line(tmp_path):
    """`env -u HOME` and a user that the system does not know."""
    (tmp_path / "short.py").write_text(f"{DEFAULT}  config = config.unlock()\n  del config.data.dir\n  return config.lock()")
    done = run_module(tmp_path, "--workdir=x", "--config=short.py")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("error: config.data.dir is missing")
    code = "import pwd, sys; pwd.getpwuid = dict().__getitem__; from gan_jax.run import __main__ as m, cli; cli.run(m.main)"
    environment = {name: entry for name, entry in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    environment |= {"PYTHONPATH": str(ROOT)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", code, "--workdir=x"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: this user has no home folder: set HOME or XDG_CACHE_HOME")
    assert "Traceback" not in done.stderr
