"""Train a GAN, or go on with one: the same command resumes from the newest checkpoint.

Command: python experiments/train.py --config=experiments/configs/mnist.py --workdir=runs/mnist --config.num_steps=2000
On many hosts: the same with --distributed on each (experiments/launch has a Slurm script and a Kubernetes manifest)
Leaves in the workdir: samples/, curves.png, training.gif, metrics.jsonl, evaluation.jsonl, scores.jsonl, tensorboard/,
checkpoints/, config.json, history.jsonl
"""

from absl import flags

from gan_jax.errors import InputError
from gan_jax.run import cli, distributed
from gan_jax.run.loop import train

_CONFIG = cli.define_config()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: its checkpoints, logs and pictures.")
_DISTRIBUTED = flags.DEFINE_boolean("distributed", False, "One of several processes, the same command on each host.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, where no cluster says it.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many there are, where no cluster says it.", lower_bound=1)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which one this is, from 0, where no cluster says it.", lower_bound=0)


def main() -> None:
    if not _WORKDIR.value:
        raise InputError("--workdir: give a folder for the run, such as --workdir=runs/mnist")
    own_place = (_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    if _DISTRIBUTED.value:
        distributed.connect(*own_place)
    elif own_place != (None, None, None):
        raise InputError("--coordinator, --num_processes and --process_id go with --distributed")
    train(_CONFIG.value, _WORKDIR.value)


if __name__ == "__main__":
    cli.run(main)
