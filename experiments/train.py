"""Train a GAN, or resume its training: the same command resumes from the newest checkpoint.

Command: python experiments/train.py --config=experiments/configs/mnist.py --workdir=runs/mnist --config.num_steps=2000
--workdir alone resumes the run in a folder with its own config: --workdir=runs/mnist --config.num_steps=1e4
--init_from=runs/mnist begins a new run with another run's networks; --allow_changes continues a run under another config.
--config=runs/mnist/config.json takes another run's config; --print_config prints the whole config and does not train.
On many hosts, add --distributed on each (experiments/launch has a Slurm script and a Kubernetes manifest).
Writes to the workdir: samples/, real.png, curves.png, training.gif, metrics.jsonl, eval.jsonl, events of TensorBoard,
checkpoints/, config.json, runs.jsonl. --config.wandb=PROJECT logs to Weights & Biases too.
Without a checkout, `python -m gan_jax.run` takes the same flags.
"""

from absl import flags

from gan_jax.run import __main__ as command
from gan_jax.run import cli

flags.adopt_module_key_flags(command)

if __name__ == "__main__":
    cli.run(command.main, stopped=cli.RESUMES)
