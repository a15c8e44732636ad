"""Train a GAN or resume its training: `python -m gan_jax.run --config=FILE --workdir=FOLDER`."""

import json

import jax
from absl import flags

from gan_jax.configs import default
from gan_jax.errors import InputError
from gan_jax.run import cli, distributed
from gan_jax.run.config import make_plan
from gan_jax.run.loop import train

_CONFIG = cli.define_config(default.__file__, resumes=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run, for its checkpoints, logs and pictures.")
_INIT_FROM = flags.DEFINE_string("init_from", "", "Workdir of another run, whose networks a new run starts from.")
_ALLOW_CHANGES = flags.DEFINE_boolean(
    "allow_changes",
    False,
    "Continue a run with a changed config, such as another learning rate; its history records the change.",
)
_PRINT_CONFIG = flags.DEFINE_boolean("print_config", False, "Check the config, print all of it as JSON, and train nothing.")
_DISTRIBUTED = flags.DEFINE_boolean("distributed", False, "Train in several processes: give each the same command.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, unless the cluster supplies it.")
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Number of processes, unless the cluster supplies it.", lower_bound=1
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Index of this process, from 0, unless the cluster supplies it.", lower_bound=0
)
_TIMEOUT = flags.DEFINE_integer("connect_timeout", 300, "Seconds within which all processes must connect.", lower_bound=1)


def main() -> None:
    """Train as the flags say."""
    if _PRINT_CONFIG.value:
        print(json.dumps(make_plan(_CONFIG.value).resolved, indent=2))
        return
    if not _WORKDIR.value:
        raise InputError("--workdir: give a folder for the run, such as --workdir=runs/mnist")
    place = (_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    if _DISTRIBUTED.value:
        distributed.connect(*place, timeout=_TIMEOUT.value)
    elif place != (None, None, None):
        raise InputError("--coordinator, --num_processes and --process_id need --distributed")
    elif jax.process_count() > 1:
        raise InputError("this host is one of several of a TPU slice: start the same command with --distributed on all of them")
    train(_CONFIG.value, _WORKDIR.value, init_from=_INIT_FROM.value, allow_changes=_ALLOW_CHANGES.value)


if __name__ == "__main__":
    cli.run(main, stopped=cli.RESUMES)
