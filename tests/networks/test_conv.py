"""The closed set of convolutions against `lax`: value, gradient, gradient of gradient; a direct sum judges both."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gan_jax.networks import conv, winograd
from gan_jax.networks.conv import Geometry, fractionally_strided_conv, strided_conv

LAYOUT = ("NHWC", "HWIO", "NHWC")
# window, (H, W) of the large side, stride, padding, groups; some leave rows that no window reaches
GEOMETRIES = [
    (4, Geometry((8, 8), 2, 1)),
    (4, Geometry((4, 4), 1, 0)),
    (3, Geometry((5, 6), 1, 1)),
    (5, Geometry((8, 8), 2, 2)),
    (3, Geometry((8, 10), 2, 1)),
    (1, Geometry((3, 3), 1, 0)),
    (2, Geometry((7, 9), 3, 0)),
    (3, Geometry((5, 6), 1, 1, groups=3)),
    (3, Geometry((8, 10), 2, 1, groups=2)),
    (1, Geometry((3, 3), 1, 0, groups=2)),
    (4, Geometry((4, 4), 1, 0, groups=6)),
]
by_geometry = pytest.mark.parametrize(("window", "geometry"), GEOMETRIES)


def lax_conv(geometry, images, kernel):
    _, stride, padding, groups = geometry
    borders = ((padding, padding), (padding, padding))
    return lax.conv_general_dilated(
        images, kernel, (stride, stride), borders, dimension_numbers=LAYOUT, feature_group_count=groups
    )


def arrays(window, geometry):
    """Images, kernel, and features of the shape that the convolution gives."""
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(2, *geometry.image_size, 6)))
    kernel = jnp.asarray(rng.normal(size=(window, window, 6 // geometry.groups, 12)))
    features = jnp.asarray(rng.normal(size=jax.eval_shape(partial(lax_conv, geometry), images, kernel).shape))
    return images, kernel, features


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def quantities(function, *inputs):
    """Its value, the gradients of a scalar of it, and those of the squared norm of these, which hold second derivatives."""
    goal = lambda *args: jnp.sum(jnp.sin(function(*args)))  # noqa: E731
    penalty = lambda *args: sum(jnp.sum(gradient**2) for gradient in jax.grad(goal, argnums=(0, 1))(*args))  # noqa: E731
    return function(*inputs), *(jax.grad(of, argnums=(0, 1))(*inputs) for of in (goal, penalty))


def assert_same_quantities(ours, reference, *inputs, rtol):
    """One program: to compile it takes longer than to run it."""
    both = jax.jit(lambda *args: tuple(zip(*(quantities(each, *args) for each in (ours, reference)), strict=True)))
    for (actual, expected), tolerance in zip(both(*inputs), [(rtol, 1e-12), (1e-8, 1e-8), (1e-8, 1e-8)], strict=True):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=tolerance[0], atol=tolerance[1]), actual, expected)


@by_geometry
def test_the_strided_convolution_and_its_first_and_second_derivatives(window, geometry):
    images, kernel, _ = arrays(window, geometry)
    assert_same_quantities(partial(strided_conv, geometry), partial(lax_conv, geometry), images, kernel, rtol=1e-10)


@by_geometry
def test_the_fractionally_strided_convolution_and_its_first_and_second_derivatives(window, geometry):
    images, kernel, features = arrays(window, geometry)

    def reference(features, kernel):
        return jax.vjp(lambda x: lax_conv(geometry, x, kernel), images)[1](features)[0]

    assert_same_quantities(partial(fractionally_strided_conv, geometry), reference, features, kernel, rtol=1e-9)


@by_geometry
def test_an_accelerators_input_gradient_is_that_of_lax(window, geometry, monkeypatch):
    """Computed here: the branch that a GPU's and a TPU's programs have."""
    monkeypatch.setattr(conv.lax, "platform_dependent", lambda *, cpu, default: default())
    images, kernel, features = arrays(window, geometry)
    expected = jax.vjp(lambda x: lax_conv(geometry, x, kernel), images)[1](features)[0]
    np.testing.assert_allclose(conv._lax_input_gradient(geometry, features, kernel), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2])
def test_value_against_the_sum_that_defines_it(groups):
    images, kernel, _ = arrays(4, Geometry((6, 6), 2, 1, groups))
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros((2, 3, 3, 12))
    for row, column, group in np.ndindex(3, 3, groups):
        inputs, outputs = (slice(group * size // groups, (group + 1) * size // groups) for size in (6, 12))
        seen = padded[:, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4, inputs]
        expected[:, row, column, outputs] = np.einsum("bhwi,hwio->bo", seen, kernel[..., outputs])
    np.testing.assert_allclose(strided_conv(Geometry((6, 6), 2, 1, groups), images, kernel), expected, rtol=1e-10, atol=1e-12)


@pytest.fixture
def winograd_everywhere(monkeypatch):
    """Small arrays by the nine products too."""
    monkeypatch.setattr(winograd, "applies", lambda batch, image_size, stride, padding, kernel: True)


@pytest.mark.parametrize("size", [(4, 4), (8, 12)])
def test_nine_products_are_the_convolution_and_its_gradients(winograd_everywhere, size):
    geometry = Geometry(size, 2, 1)
    test_the_strided_convolution_and_its_first_and_second_derivatives(4, geometry)
    test_the_fractionally_strided_convolution_and_its_first_and_second_derivatives(4, geometry)


def test_nine_products_are_as_exact_as_lax_in_float32():
    geometry = Geometry((16, 16), 2, 1)
    images, kernel, _ = arrays(4, geometry)
    exact = lax_conv(geometry, images, kernel)
    images, kernel = images.astype(jnp.float32), kernel.astype(jnp.float32)
    error, of_lax = (jnp.abs(jax.jit(f)(images, kernel) - exact).max() for f in (winograd.conv, partial(lax_conv, geometry)))
    assert float(error) < 4 * float(of_lax)


def test_large_layers_alone_go_by_nine_products():
    def products(batch, geometry, kernel, dtype=jnp.float32):
        shapes = (jax.ShapeDtypeStruct((batch, *geometry.image_size, kernel[2]), dtype), jax.ShapeDtypeStruct(kernel, dtype))
        return str(jax.make_jaxpr(partial(strided_conv, geometry))(*shapes)).count("dot_general")

    large, kernel = Geometry((32, 32), 2, 1), (4, 4, 64, 128)
    assert products(64, large, kernel) == 9
    assert products(1, large, kernel) == 0, "too small"
    assert products(4096, large, (4, 4, 3, 128)) == 0, "too few channels"
    assert products(64, large, kernel, jnp.bfloat16) == 0, "sums would round"
    for geometry, taps in ((Geometry((30, 30), 2, 1), 4), (Geometry((32, 32), 1, 1), 4), (Geometry((32, 32), 2, 1), 3)):
        assert products(64, geometry, (taps, taps, 64, 128)) == 0, "another convolution"


def test_no_derivative_on_a_cpu_is_a_grouped_convolution_of_xla():
    """Its gradients take hundreds of times as long there; elsewhere the library's own are used."""
    geometry = Geometry((8, 8), 1, 1, groups=2)
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 8, 8, 4), (3, 3, 2, 6))]
    derivatives = jax.jit(partial(quantities, partial(strided_conv, geometry)))
    for platform, grouped in (("cpu", False), ("cuda", True)):
        text = jax.export.export(derivatives, platforms=[platform])(*shapes).mlir_module()
        assert ("stablehlo.convolution" in text) == grouped
