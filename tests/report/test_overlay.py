"""Overlays: colours where the labels are, figures as files."""

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from crossem import InputError
from crossem.report import overlay_rgb, overlay_slices, save_figure
from crossem.report.overlay import CLASS_COLOURS


@pytest.fixture
def volumes():
    image = np.random.default_rng(0).integers(0, 256, (8, 40, 60), dtype=np.uint8)
    label = np.zeros_like(image)
    label[:, 10:20, 10:30] = 1
    label[:, 25:35, 30:50] = 2
    return image, label


def test_background_keeps_its_grey_and_classes_their_colour(volumes):
    image, label = volumes
    rgb = overlay_rgb(image, label)
    assert rgb.dtype == np.uint8 and rgb.shape == (*image.shape, 3)
    np.testing.assert_array_equal(rgb[label == 0], np.repeat(image[label == 0][:, None], 3, axis=1))
    np.testing.assert_array_equal(rgb[0, 10, 10:30], np.tile(CLASS_COLOURS[0], (20, 1)))  # the outline
    np.testing.assert_array_equal(rgb[0, 25:35, 30], np.tile(CLASS_COLOURS[1], (10, 1)))
    blended = (0.6 * image[0, 15, 20] + 0.4 * CLASS_COLOURS[0]).astype(np.uint8)
    np.testing.assert_array_equal(rgb[0, 15, 20], blended)


def test_each_slice_of_a_volume_is_drawn_as_if_alone(volumes):
    image, label = volumes
    np.testing.assert_array_equal(overlay_rgb(image, label)[3], overlay_rgb(image[3], label[3]))


def test_tensors_and_float_images_are_stretched_to_their_range():
    image = torch.tensor([[-1.0, 0.0], [1.0, 3.0]])
    rgb = overlay_rgb(image, torch.zeros(2, 2, dtype=torch.bfloat16))
    np.testing.assert_array_equal(rgb[..., 0], [[0, 64], [128, 255]])
    assert overlay_rgb(torch.full((2, 2), 7.0), torch.zeros(2, 2, dtype=torch.uint8)).max() == 0


def test_figure_has_a_row_a_slice_and_a_column_a_volume(volumes):
    image, label = volumes
    figure = overlay_slices(
        image, label, {"DANN, IoU 0.50": label}, [1, 5], ["background", "mitochondria", "glia"], "test third"
    )
    panels = figure.axes
    assert len(panels) == 6
    assert [p.get_title() for p in panels[:3]] == ["image", "truth", "DANN, IoU 0.50"]
    assert [panels[0].get_ylabel(), panels[3].get_ylabel()] == ["z = 1", "z = 5"]
    np.testing.assert_array_equal(panels[4].images[0].get_array(), overlay_rgb(image[5], label[5]))
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["mitochondria", "glia"]


@pytest.mark.parametrize("depth, expected", [(8, [2, 4, 6]), (3, [0, 1, 2]), (1, [0])])
def test_slices_are_chosen_for_any_depth(volumes, depth, expected):
    figure = overlay_slices(volumes[0][:depth])
    assert [a.get_ylabel() for a in figure.axes] == [f"z = {z}" for z in expected]


def test_figure_is_saved_whole_and_leaves_pyplot_alone(volumes, tmp_path):
    path = save_figure(overlay_slices(*volumes), tmp_path / "figures.png")
    with Image.open(path) as image:
        assert image.format == "PNG" and min(image.size) > 300
    assert [p.name for p in tmp_path.iterdir()] == ["figures.png"]
    assert matplotlib._pylab_helpers.Gcf.get_num_fig_managers() == 0


def test_wrong_inputs_are_named(volumes, tmp_path):
    image, label = volumes
    with pytest.raises(InputError, match="same grid"):
        overlay_rgb(image, label[1:])
    with pytest.raises(InputError, match="Y-Net has shape"):
        overlay_slices(image, label, {"Y-Net": label[:, :5]})
    with pytest.raises(InputError, match="slices are"):
        overlay_slices(image, slices=[8])
    with pytest.raises(InputError, match="Z, Y, X"):
        overlay_slices(image[0])
    with pytest.raises(InputError, match="png"):
        save_figure(overlay_slices(image), tmp_path / "figure.pdf")
