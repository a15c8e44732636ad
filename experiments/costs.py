"""FLOPs of a DCGAN step, counted by hand."""


def model_flops(
    image_size: int, channels: int, base_width: int, latent_dim: int, batch_size: int, disc_steps: int = 1, border: bool = True
) -> int:
    """Count the FLOPs of the convolutions and matrix products of one step: k updates of D, one of G, no unused gradient.

    border: count the products with the zeros beyond the border, as PyTorch does; XLA's cost analysis leaves them out.
    """
    blocks = image_size.bit_length() - 3
    strided = []  # of each layer of D from the image on, forward; G's mirror them
    for block in range(blocks):
        size, inputs = image_size >> (block + 1), base_width << (block - 1) if block else channels
        taps = 4 * size if border else 4 * size - 2
        strided.append(2 * taps**2 * inputs * (base_width << block))
    logit = 2 * 16 * (base_width << (blocks - 1))
    stem = logit * latent_dim
    disc, gen = sum(strided) + logit, sum(strided) + stem
    # A backward pass costs a forward pass for the weights and another for the inputs, which the first layer's are spared.
    disc_update = gen + 2 * (disc + disc + disc - strided[0])
    gen_update = gen + disc + disc + gen + (gen - stem)
    return batch_size * (disc_steps * disc_update + gen_update)
