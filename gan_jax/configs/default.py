"""The complete config: every entry that a run has, with its default. The other configs are short differences from it.

DCGAN as in the PyTorch example (width 64, batch 64, Adam 2e-4 with b1 0.5) on the embedded digits.
Command: python experiments/train.py --config=experiments/configs/default.py --workdir=runs/default
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()

    config.seed = 0  # parameters, latents, data order: all are functions of (seed, step)
    config.num_steps = 5000  # updates of the generator
    config.batch_size = 64  # real images, and fake ones, in each update
    config.latent_dim = 100  # z ~ N(0, I)

    config.objective = "non_saturating"  # or minimax, the saturating one
    config.disc_steps = 1  # k: ascents of D before each descent of G
    config.ema_decay = 0.0  # moving average of the generator, used by sampling; 0 keeps none

    config.network = ConfigDict()
    config.network.name = "dcgan"  # or mlp
    config.network.dtype = "float32"  # of the arithmetic, or bfloat16; parameters and statistics stay float32
    config.network.dcgan = ConfigDict({"base_width": 64})  # channels next to the image; doubled at each halving
    config.network.mlp = ConfigDict({"hidden": (128, 128)})  # widths of the hidden layers, of both players

    config.optimizer = ConfigDict()
    config.optimizer.gen = ConfigDict({"name": "adam", "learning_rate": 2e-4, "b1": 0.5, "b2": 0.999})
    config.optimizer.disc = ConfigDict({"name": "adam", "learning_rate": 2e-4, "b1": 0.5, "b2": 0.999})
    # name: adam, or sgd, which takes the learning rate alone

    config.data = ConfigDict()
    config.data.name = "mnist5k"  # 5,000 MNIST digits, no download; or tfds:NAME, folder:PATH, numpy:FILE;
    # or ring, grid: Gaussian mixtures in the plane
    config.data.image_size = 32  # a power of two of at least 8
    config.data.channels = 1  # or 3
    config.data.resize = True  # centre crop and antialiased resize; False puts images that are smaller in the middle
    config.data.background = "black"  # under transparent pixels and around images that are not resized
    config.data.flip = False  # mirror images left to right at random
    config.data.split = "train"  # of TFDS, in its syntax: train[:90%]+test
    config.data.dir = ""  # where TFDS keeps its sets; "" is $TFDS_DATA_DIR, by default ~/tensorflow_datasets
    config.data.resident_mib = 4096  # sets up to this size live on the device, larger ones are streamed from the host
    config.data.workers = 2  # processes that read streamed images ahead; 0 reads in a thread

    config.parallel = "auto"  # jit on one device, pmap on several; or jit, pmap, shard_map; a resumed run may change it
    config.sync_batch_norm = True  # over devices: statistics of the whole batch; False takes those of each device's part
    config.steps_per_call = "auto"  # or a number of steps to dispatch at once; what is logged and saved stays the same

    config.log_every = 50  # steps between rows of metrics.jsonl and TensorBoard
    config.sample_every = 250  # steps between pictures
    config.num_samples = 64  # in each picture, of the same latents throughout
    config.checkpoint_every = 500
    config.keep_checkpoints = 2  # the newest ones, beside the best

    config.eval_every = 1000  # steps between looks at samples, and at the end; their lowest score is the best step; 0: none
    config.eval_num = 2000  # samples in each

    config.watch = ConfigDict()  # for a D that is sure, a V stuck at 0, samples that are nearly identical
    config.watch.action = "warn"  # or stop
    config.watch.steps = 500  # for so many in a row
    config.watch.diversity = 0.2  # identical: their mean pairwise distance, as a share of the data's

    return config.lock()
