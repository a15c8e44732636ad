"""Pictures hold what they were given, pixel by pixel where that can be said."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from small import random_images

from gan_jax.data import from_arrays
from gan_jax.objectives import OBJECTIVES
from gan_jax.run import plots
from gan_jax.run.animation import save_animation
from gan_jax.run.curves import draw_curves
from gan_jax.run.pictures import real_examples


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (2, "L"), (4, "L")])
def test_grid_holds_every_image_in_order(tmp_path, channels, mode):
    images = random_images(5, 8, channels)
    plots.save_grid(images, tmp_path / "deep" / "grid.png", columns=3)
    with Image.open(tmp_path / "deep" / "grid.png") as picture:
        assert picture.mode == mode
        pixels = np.asarray(picture)
    side = 64 if channels in (1, 3) else 64 * channels  # enlarged eight times; odd channels stand side by side
    for index, image in enumerate(images):
        top, left = 2 + index // 3 * 66, 2 + index % 3 * (side + 2)
        tile = pixels[top : top + 64 : 8, left : left + side : 8]
        expected = image if channels == 3 else np.concatenate(list(np.moveaxis(image, -1, 0)), axis=1)
        np.testing.assert_array_equal(tile, expected.reshape(tile.shape))
    assert np.all(pixels[68:132, 2 + 2 * (side + 2) :] == 255)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["grid.png"]


def test_images_of_two_sides_keep_their_shape(tmp_path):
    images = random_images(2, 16)[:, :, :8]
    plots.save_grid(images, tmp_path / "grid.png", columns=2)
    with Image.open(tmp_path / "grid.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (16 * 8 + 4, 2 * 8 * 8 + 6)
    np.testing.assert_array_equal(pixels[2:130:8, 2:66:8], images[0, ..., 0])


def test_pairs_stand_side_by_side(tmp_path):
    samples, neighbours = random_images(6, 64, 3), random_images(6, 64, 3, seed=1)
    plots.save_pairs(samples, neighbours, tmp_path / "pairs.png")
    with Image.open(tmp_path / "pairs.png") as picture:
        assert picture.size == (2 * 130 + 2, 3 * 66 + 2)  # two pairs a row
        last = np.asarray(picture)[134:198, 132:260]
    np.testing.assert_array_equal(last, np.concatenate([samples[5], neighbours[5]], axis=1))


def test_animation_shows_the_frames_in_order_and_few_of_many(tmp_path):
    frames = []
    for level in range(100):
        frames.append(tmp_path / f"{level:03d}.png")
        Image.fromarray(np.full((8, 8), 2 * level, np.uint8)).save(frames[-1])
    save_animation(frames, tmp_path / "out.gif")
    with Image.open(tmp_path / "out.gif") as gif:
        assert gif.n_frames == 60
        levels, milliseconds = [], []
        for index in range(gif.n_frames):
            gif.seek(index)
            levels.append(np.asarray(gif.convert("L"))[0, 0])
            milliseconds.append(gif.info["duration"])
        assert gif.info["loop"] == 0  # for ever
    assert milliseconds == [130] * 59 + [2000]  # eight seconds, to a hundredth of one each, and the last is held
    assert levels == sorted(levels)
    assert (levels[0], levels[-1]) == (0, 198)


def test_captions_stand_below_the_frames_of_an_animation(tmp_path):
    frames = [tmp_path / "1.png", tmp_path / "2.png"]
    for path in frames:
        Image.fromarray(np.full((20, 60), 90, np.uint8)).save(path)
    Image.fromarray(np.full((20, 40), 90, np.uint8)).save(tmp_path / "narrower.png")
    captions = ["another number of samples", "step 1", "step 2000"]
    save_animation([tmp_path / "narrower.png", *frames], tmp_path / "out.gif", captions=captions)
    with Image.open(tmp_path / "out.gif") as gif:
        strips = []
        for index in range(2):
            gif.seek(index)
            grey = np.asarray(gif.convert("L"))
            assert (grey[:20] == 90).all()
            strips.append(grey[20:])
    assert [strip.max() for strip in strips] == [255, 255]
    inked = [np.flatnonzero((strip < 128).any(axis=0)) for strip in strips]
    assert [ink.size > 0 for ink in inked] == [True, True]
    assert inked[0].max() < inked[1].max() < 60  # the longer text is longer, and whole


@pytest.mark.parametrize("names", [("value", "prob/real", "prob/fake"), ()], ids=["sigmoid", "hinge"])
def test_curves_have_a_panel_for_each_kind_of_metric(tmp_path, names):
    names = (*names, "loss/disc", "loss/gen", "logits/real", "logits/fake")
    rows = [{"step": step, **dict.fromkeys(names, np.sin(step))} for step in range(1, 40)]
    plots.save_figure(draw_curves(rows), tmp_path / "curves.png")
    plots.save_figure(draw_curves(rows[:1]), tmp_path / "one.png")
    for name in ("curves.png", "one.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.height == 270 * (4 if "value" in names else 2)
            assert np.asarray(picture.convert("L")).std() > 5


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("relativistic", {"D": np.log(2), "G": np.log(2)}),
        ("non_saturating", {"D": np.log(4), "G": np.log(2)}),
        ("hinge", {"D": 2}),
    ],
)
def test_losses_are_marked_where_the_objective_puts_them_at_equilibrium(objective, expected):
    rows = [{"step": step, "loss/disc": 0.1, "loss/gen": 3.0} for step in range(1, 40)]
    figure = draw_curves(rows, OBJECTIVES[objective])
    lines = [line for line in figure.axes[0].lines if "equilibrium" in line.get_label()]
    assert {line.get_label()[len("loss of ")]: pytest.approx(line.get_ydata()[0]) for line in lines} == expected


def values_and_spikes(spikes):
    """200 rows of V about −0.3 and losses about 1, of which some are far off."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=200)
    off = np.where(np.isin(np.arange(200), spikes), 500.0, 0.0)
    return [
        {"step": step, "value": -0.3 + noise[step] - off[step], "loss/disc": 1 + noise[step] + off[step], "loss/gen": 1.0}
        for step in range(200)
    ]


def test_an_axis_is_clipped_where_a_few_values_would_stretch_it_and_says_so():
    figure = draw_curves(values_and_spikes([50, 120]), OBJECTIVES["non_saturating"])
    for axes, limits, of in zip(figure.axes, ((-2, 0.3), (0.3, 2)), (200, 400), strict=True):
        low, high = axes.get_ylim()
        assert limits[0] < low < high < limits[1]
        assert [text.get_text() for text in axes.texts] == [f"axis clipped: 2 of {of} values lie outside"]


def test_an_axis_is_whole_where_many_values_need_it():
    for rows in (values_and_spikes([]), values_and_spikes(range(0, 200, 8))):
        for axes in draw_curves(rows, OBJECTIVES["non_saturating"]).axes:
            values = np.concatenate([line.get_ydata() for line in axes.lines])
            low, high = axes.get_ylim()
            assert not axes.texts
            assert (low < values.min(), values.max() < high) == (True, True)


@pytest.mark.parametrize("lowest", [-1.5, -5.0, -100.0])
def test_labels_of_the_curves_do_not_collide(lowest):
    rows = [{"step": step, "value": lowest * (step % 2)} for step in range(40)]
    figure = draw_curves(rows)
    (axes,) = figure.axes
    figure.draw_without_rendering()
    assert axes.get_legend().get_window_extent().y0 >= axes.get_window_extent().y1  # above all curves
    (right,) = axes.child_axes
    boxes = sorted((label.get_window_extent() for label in right.get_yticklabels()), key=lambda box: box.y0)
    assert len(boxes) >= 1
    assert all(below.y1 <= above.y0 for below, above in pairwise(boxes))


@pytest.mark.parametrize("labels", [None, np.array([1, 1, 0, 0, 2, 2])], ids=["any", "labels"])
def test_real_examples_are_the_first_or_the_first_of_each_label(labels):
    images = random_images(40, 8)
    of_images = np.arange(40) % 3
    dataset = from_arrays(images, of_images, batch_size=5)
    order = np.concatenate([np.asarray(dataset.fetch(7, step, 1)["index"][0]) for step in range(8)])
    real = real_examples(dataset, 7, 6, labels)
    if labels is None:
        expected = order[:6]
    else:
        of_label = {label: [index for index in order if of_images[index] == label] for label in range(3)}
        expected = [of_label[label].pop(0) for label in labels]
    np.testing.assert_array_equal(real, images[expected])


def test_a_label_that_the_data_do_not_have_gets_a_white_image():
    dataset = from_arrays(np.zeros((8, 4, 4, 1), np.uint8), np.zeros(8, int), batch_size=8)
    real = real_examples(dataset, 0, 2, np.array([0, 1]))
    assert [np.unique(image).tolist() for image in real] == [[0], [255]]


def test_points_are_plotted(tmp_path):
    plots.save_points(
        np.zeros((5, 2)),
        tmp_path / "points.png",
        log_prob=lambda points: -np.sum(points**2, axis=-1),
        disc=lambda points: points[:, 0],
        levels=6,
        extent=2.0,
        title="t",
    )
    with Image.open(tmp_path / "points.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5


@pytest.mark.parametrize("labels", [None, np.array([0, 1])])
def test_points_have_the_colours_of_their_labels(tmp_path, labels):
    path = tmp_path / "points.png"
    points, log_prob = np.array([[-1.0, 0.0], [1.0, 0.0]]), lambda points: np.zeros(len(points))
    plots.save_points(points, path, log_prob=log_prob, disc=None, levels=6, extent=2.0, title="", labels=labels)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    left, right = (half[np.ptp(half, axis=-1) > 60].mean(axis=0) for half in np.split(pixels, 2, axis=1))
    assert np.allclose(left, right, atol=20) == (labels is None)
