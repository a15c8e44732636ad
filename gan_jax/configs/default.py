"""The complete config: every entry that a run has, with its default. Other configs are short differences from it.

It trains the DCGAN of the PyTorch example (width 64, batch 64, Adam 2e-4 with b1 0.5) on the embedded digits. 9 minutes on 2
cores, estimated from the step time; not run to its end.
Command: python experiments/train.py --config=gan_jax/configs/default.py --workdir=runs/default
"""

from typing import Any

from ml_collections import ConfigDict, FieldReference, config_dict


def get_config() -> ConfigDict:
    config = ConfigDict(experiment())
    config.update(loop())
    config.update(host())
    return config.lock()


def experiment() -> dict[str, Any]:
    """Return the entries that define an experiment: a resumed run must have the same, unless changes are allowed."""
    return {
        "seed": 0,  # parameters, latents, data order: all are functions of (seed, step)
        "batch_size": 64,  # real images, and fake ones, in each update
        "latent_dim": 100,  # z ~ N(0, I)
        "num_classes": 0,  # of the labels that both players see; 0: unconditional
        "objective": "non_saturating",  # or minimax, least_squares, wasserstein, hinge, relativistic, relativistic_average
        "disc_steps": 1,  # k: discriminator updates per generator update
        "packing": 1,  # samples that D judges together (PacGAN); it must divide the batch
        "ema_decay": 0.0,  # moving average of the generator, used by sampling; 0 keeps none
        **scheduled("ema_half_life", 0.0),  # the same by its half-life in images
        "ema_ramp_up": 0.05,  # the half-life is at most so many times the images seen so far; 0: no ramp-up
        "augment": "",  # DiffAugment of all that D sees: some of color,translation,cutout; "" is none
        **scheduled("augment_probability", 1.0),  # probability of each transform
        "sync_batch_norm": True,  # over devices: statistics of the whole batch; False takes those of each device's part
        "penalty": penalty(),
        "network": for_each_player(network()),
        "optimizer": for_each_player(optimizer()),
        # An entry NAME goes to final_NAME over so many images (batch_size × disc_steps in each step) and stays there.
        "schedule": {"shape": "cosine", "images": 0},  # or linear
        "data": {
            "name": "mnist5k",  # 5,000 MNIST digits, no download; or mnist, tfds:NAME, folder:PATH, numpy:FILE;
            # or crossfire, emoji: colour images of Debian packages; or stacked:NAME: three digits as three channels;
            # or ring, grid: Gaussian mixtures in the plane
            # 4 to 7 times a power of two (28, 32, 48, 64, 96, …); or height and width: (32, 64), as a flag 32,64
            "image_size": FieldReference(32, field_type=object),
            "channels": 1,  # or 3, as stacked:NAME has
            "resize": True,  # centre crop and antialiased resize; False puts images that are smaller in the middle
            "background": "black",  # under transparent pixels and around images that are not resized
            "flip": False,  # flip images left to right at random
            "split": "train",  # of mnist: train, test, or a slice such as train[:500]; of TFDS, in its syntax: train[:90%]+test
        },
    }


def scheduled(name: str, number: float) -> dict[str, Any]:
    """Return a number that may change over `schedule.images`, to the entry final_NAME where that is set."""
    return {name: number, f"final_{name}": config_dict.placeholder(float)}


def penalty() -> dict[str, Any]:
    """Return the weights of the penalties on D, of what it sees, packed; 0 is off. They exclude batch norm in D."""
    return {
        **scheduled("r1", 0.0),
        **scheduled("r2", 0.0),
        **scheduled("gradient_penalty", 0.0),  # WGAN-GP's, of weight 10 in the paper
        **scheduled("dragan", 0.0),
        "every": 1,  # steps between penalties, whose weight it multiplies. R3GAN diverges on Stacked MNIST with 8
    }


def network() -> dict[str, Any]:
    """Return the network of both players: its name, and the options of each network."""
    return {
        "name": "dcgan",  # or mlp, sndcgan, resnet, r3gan
        "dtype": "float32",  # type of the arithmetic; or bfloat16; parameters, statistics and logits stay float32
        "dcgan": {
            "base_width": 64,  # channels next to the image; doubled at each halving
            "norm": "batch",  # or none; in D also layer, spectral
        },
        "mlp": {"hidden": (128, 128)},  # widths of the hidden layers
        "sndcgan": {  # SNGAN's standard CNN
            "base_width": 64,  # as in dcgan
            "norm": "spectral",  # D's norm, or none; G has batch norm
        },
        "resnet": {  # SNGAN's residual networks
            "width": 128,  # channels throughout; in the paper 256 for gen, 128 for disc
            "norm": "spectral",  # D's norm; or layer, none; G has batch norm
        },
        "r3gan": {  # for relativistic, r1 and r2, latent_dim 64; published sizes in brackets
            "widths": (96,),  # channels from image_size to the smallest grid, or one number for all (768 for CIFAR-10)
            "blocks": 2,  # at each resolution
            "group_size": 16,  # channels in a group of the 3 × 3 convolutions, a divisor of 2 × width (16, or 32 for ImageNet)
        },
    }


def optimizer() -> dict[str, Any]:
    """Return the optimiser of both players: adam, or sgd, which uses the learning rate alone."""
    return {
        "name": "adam",
        **scheduled("learning_rate", 2e-4),
        "b1": 0.5,
        **scheduled("b2", 0.999),
    }


def for_each_player(entries: dict[str, Any]) -> ConfigDict:
    """Return the entries of both players, with a copy under "gen" and "disc" that follows them until it is set itself."""
    both = ConfigDict(entries)
    copies = {player: _follow(both) for player in ("gen", "disc")}
    both.update(copies)
    return both


def _follow(section: ConfigDict) -> ConfigDict:
    return ConfigDict(
        {
            key: _follow(section[key]) if isinstance(section[key], ConfigDict) else section.get_ref(key).identity()
            for key in section
        }
    )


def loop() -> dict[str, Any]:
    """Return how long a run is, what it logs and saves how often, and how it is executed: a resumed run may change these."""
    return {
        "num_steps": 5000,  # generator updates
        "parallel": "auto",  # jit on one device, pmap on several; or jit, pmap, shard_map
        "steps_per_call": "auto",  # or a number of steps to dispatch at once; what is logged and saved stays the same
        "log_every": 50,  # steps between rows of metrics.jsonl and TensorBoard, means over those steps
        "wandb": "",  # the project on Weights & Biases that gets them too (pip install wandb); "" is none
        "sample_every": 250,  # steps between pictures
        "num_samples": 64,  # in each picture, of the same latents throughout
        "checkpoint_every": 500,
        "keep_checkpoints": 2,  # the newest ones, beside the best
        "eval_every": 1000,  # steps between evaluations; the lowest selection metric is the best step's; 0: none
        "eval_num": 2000,  # samples in each evaluation
        "watch": {  # the collapse watch: saturated logits of D, a V near 0, nearly identical samples
            "action": "warn",  # or stop
            "steps": 500,  # only what lasts for so many steps in a row
            "diversity": 0.2,  # samples below this mean pairwise distance, as a share of the data's, count as identical
        },
    }


def host() -> dict[str, Any]:
    """Return the entries that each host may set for itself: where its data are, and how it reads them."""
    return {
        "data": {
            "dir": "",  # folder of TFDS's datasets ("": $TFDS_DATA_DIR, or ~/tensorflow_datasets) or of MNIST's idx files;
            # or the file of Debian's package of crossfire or emoji, or its folder ("": where Debian puts it)
            "resident_mib": 4096,  # datasets up to this size live on the device, larger ones are streamed from the host
            "workers": 2,  # processes that read streamed images ahead; 0 reads in a thread
        }
    }
