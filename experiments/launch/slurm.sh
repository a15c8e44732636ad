#!/bin/bash
# One run on many GPUs under Slurm, from the root of the checkout, with the arguments of train.py after the script:
#   sbatch experiments/launch/slurm.sh --config=experiments/configs/celeba64.py --workdir=runs/celeba64 --config.batch_size=1024
#
# One process per GPU: Slurm tells each which one it is. The workdir is on a disk that the first node can reach; the same command
# resumes a run that is there. Before its time is up, or when it is preempted, the run saves and is queued again.

# The machines: nodes, and the GPUs of each, which are as many as its tasks. Edit them, or give them to sbatch: --nodes=8.
#SBATCH --nodes=2
#SBATCH --gpus-per-node=4
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00

#SBATCH --job-name=gan_jax
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@180

# Since Slurm 22.05 a step does not inherit the CPUs of a task.
srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=1 .venv/bin/python experiments/train.py --distributed "$@"
status=$?
# 143: stopped by SIGTERM, with a checkpoint. Any other failure is left to a person.
if [ "$status" -eq 143 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$status"
