"""The command line: every mistake is one line that names the flag and the remedy, and the package trains without a checkout."""

import json
import os
import subprocess
import sys

import forked
import pytest
from absl import flags
from conftest import ROOT
from ml_collections import config_flags
from small import small_config

from gan_jax.errors import InputError
from gan_jax.files import read_jsonl
from gan_jax.run import cli
from gan_jax.run.checks import flatten
from gan_jax.run.cli import check_overrides, load_config
from gan_jax.run.config import resolve

pytestmark = pytest.mark.filterwarnings("ignore:the load_module")  # ml_collections, on Python 3.11

MNIST = str(ROOT / "experiments" / "configs" / "mnist.py")
DEFAULT = "from gan_jax.configs import default\ndef get_config():\n  config = default.get_config()\n"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.num_stepz=3", "--config.num_stepz: no such entry; did you mean num_steps"),
        ("--config.network.bas_width=3", "--config.network.bas_width: no such entry"),
        ("--noconfig.data.flipp", "no such entry; did you mean data.flip"),
        ("--config.optimizer.gen.lr=1", "--config.optimizer.gen.lr: no such entry; did you mean optimizer.gen.learning_rate"),
        ("--config.lr=1", "--config.lr: no such entry; did you mean optimizer.learning_rate"),
        ("--config.learning_rate=1", "no such entry; did you mean optimizer.learning_rate"),
        ("--config.zzz=1", "--config.zzz: no such entry$"),
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


@pytest.mark.parametrize(
    ("argument", "prepared"),
    [
        ("--config.num_steps=1e4", "--config.num_steps=10000"),
        ("-config.seed=-0.0", "--config.seed=0"),
        ("--config.num_steps=1.5", "--config.num_steps=1.5"),
        ("--config.num_steps=1e400", "--config.num_steps=1e400"),
        ("--config.num_steps=007", "--config.num_steps=007"),
        ("--config.ema_decay=1e0", "--config.ema_decay=1e0"),
        ("--config.steps_per_call=1e1", "--config.steps_per_call=1e1"),
        ("--num_steps=1e4", "--num_steps=1e4"),
    ],
)
def test_whole_numbers_of_integer_entries_are_written_in_digits(argument, prepared):
    assert cli.prepare(["train.py", f"--config={MNIST}", argument])[2:] == [prepared]
    text = prepared.partition("=")[2]
    assert cli.prepare(["train.py", "--config", MNIST, *argument.split("=")])[3:] == [argument.partition("=")[0], text]


def test_a_config_as_json_is_the_config_it_was_and_its_players_follow(tmp_path):
    config = small_config(**{"network.mlp.hidden": (3,), "optimizer.disc.b1": 0.25, "data.image_size": (8, 16)})
    path = tmp_path / "config.json"
    path.write_text(json.dumps(resolve(config)))
    prepared = cli.prepare(["train.py", f"--config={path}"])
    assert cli.prepare(prepared) == prepared  # as scripts pass it on
    read = load_config(str(path))
    assert resolve(read) == resolve(config)
    assert read.network.gen.mlp.hidden == (3,)
    read.network.name, read.network.mlp.hidden, read.optimizer.b1 = "mlp", (5,), 0.75  # as an override does
    assert (read.network.gen.mlp.hidden, read.network.disc.mlp.hidden) == ((5,), (5,))
    assert (read.network.gen.name, read.network.disc.name) == ("mlp", "mlp")
    assert (read.optimizer.gen.b1, read.optimizer.disc.b1) == (0.75, 0.25)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be a config as JSON"),
        ("[" * 100_000, "must be a config as JSON"),
        ('{"evil": 1}', r"config\.evil: no such entry"),
        ("3", "config must be sections of entries"),
    ],
)
def test_json_that_is_no_config_is_one_line(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        load_config(str(tmp_path / "config.json"))
    assert "config.json" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("text", "size"), [("64", 64), ("32,64", (32, 64)), ("(28, 28)", (28, 28))])
def test_an_image_size_on_the_command_line(text, size):
    values = flags.FlagValues()
    arguments = cli.prepare(["train.py", f"--config={MNIST}", f"--config.data.image_size={text}"])
    holder = config_flags.DEFINE_config_file("config", flag_values=values, lock_config=True, sys_argv=arguments)
    values(arguments)
    assert holder.value.data.image_size == size


MODULE = ("-m", "gan_jax.run")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def run_module(folder, *arguments):
    return forked.run([*MODULE, *arguments], cwd=folder, env=ENVIRONMENT)


def test_the_package_trains_without_a_checkout(tmp_path):
    """With entries that are None by default, entries of both players, and entries of one."""
    command = [sys.executable, *MODULE, "--workdir=run", *(f"--config.{key}={entry}" for key, entry in SHORT.items())]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = read_jsonl(tmp_path / "run" / "runs.jsonl")
    config = flatten(row["config"])
    assert (row["to_step"], config["objective"]) == (2, "non_saturating")
    assert {key: config[key] for key in SHORT} == SHORT
    assert [config[f"optimizer.{player}.final_learning_rate"] for player in ("gen", "disc")] == [1e-5, 1e-5]
    assert [config[f"network.{player}.dcgan.base_width"] for player in ("gen", "disc")] == [4, 4]
    assert [config[f"network.{player}.name"] for player in ("gen", "disc")] == ["mlp", "dcgan"]

    changed = ("--init_from=gone", "--allow_changes", "--config.penalty.r1=0.5")
    done = run_module(tmp_path, "--workdir=run", "--config.num_steps=3e0", *changed)
    assert done.returncode == 0, done.stderr
    assert "--init_from=gone is ignored" in done.stdout
    assert "continues from step 2 with penalty.r1: 1.0 -> 0.5" in done.stdout
    _, resumed = read_jsonl(tmp_path / "run" / "runs.jsonl")
    assert (resumed["from_step"], resumed["to_step"]) == (2, 3)
    assert resumed["config"].pop("history") == [{"step": 2, "changes": {"penalty.r1": [1.0, 0.5]}}]
    row["config"]["penalty"]["r1"] = 0.5
    assert resumed["config"] == row["config"] | {"num_steps": 3}
    done = run_module(tmp_path, "--config=run/config.json", "--config.seed=7", "--print_config")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == row["config"] | {"num_steps": 3, "seed": 7}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--workdir=x", "--config.num_stepz=3"), "error: --config.num_stepz: no such entry; did you mean num_steps?"),
        (("--workdir=x", "--config.num_steps=abc"), "error: flag --config.num_steps=abc: invalid literal for int()"),
        (("--workdir=x", "--config.penalty.final_r1=a"), "error: flag --config.penalty.final_r1=a: could not convert string"),
        (("--workdir=x", "--init_from=y"), "error: --init_from=y: no run is there; train one with experiments/train.py"),
        (("--workdir=x", "--process_id=1"), "error: --coordinator, --num_processes and --process_id need --distributed"),
        (("--workdr=x",), "error: --workdr: no such flag; did you mean workdir?"),
        (("runs/mnist",), "error: runs/mnist: not a flag; flags begin with --, see --help"),
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


def test_a_device_without_memory_is_one_line(tmp_path):
    code = "import jax.numpy as jnp; from gan_jax.run import cli; cli.run(lambda: jnp.ones((1 << 46,)).block_until_ready())"
    done = forked.run(["-c", code], cwd=tmp_path, env=ENVIRONMENT)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith("error: out of memory: ")
    assert done.stderr.endswith("others may use this device too\n")


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
