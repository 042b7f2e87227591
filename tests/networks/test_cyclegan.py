"""The networks of CycleGAN have the layers of the report, and treat every slice on its own."""

import pytest
import torch
from torch import nn

from crossem.errors import InputError
from crossem.networks import CycleGAN, SliceGenerator, checked_slice_patch


def convolutions(module):
    return [(m.out_channels, m.kernel_size[0], m.stride[0]) for m in module.modules() if isinstance(m, nn.Conv2d)]


def test_the_layers_are_those_of_aalto_section_3_7():
    network = CycleGAN()
    for generator in network.generators.values():
        assert convolutions(generator.encoder) == [(64, 7, 1), (128, 3, 2), (256, 3, 2)]
        assert convolutions(generator.transformer) == [(256, 3, 1)] * 6
        assert convolutions(generator.decoder) == [(512, 3, 1), (256, 3, 1), (1, 7, 1)]
        assert sum(isinstance(m, nn.PixelShuffle) for m in generator.modules()) == 2
    for discriminator in network.discriminators.values():
        assert convolutions(discriminator) == [(64, 4, 2), (128, 4, 2), (256, 4, 2), (512, 4, 1), (1, 4, 1)]
    first, second = (list(network.generators[d].parameters()) for d in ("source", "target"))
    assert not torch.equal(first[0], second[0])


def test_a_translation_keeps_the_shape_and_the_range():
    torch.manual_seed(0)
    generator = SliceGenerator(8, 1)
    x = 4 * torch.randn(3, 1, 20, 36).clamp(-1, 1)
    y = generator(x)
    assert y.shape == x.shape and y.abs().max() <= 4
    with torch.no_grad():
        generator.decoder[-1].weight *= 1e4
    assert generator(x).abs().max().item() == pytest.approx(4, abs=1e-3)


@pytest.mark.parametrize("size", [(37, 53), (5, 9), (1, 8)])
def test_slices_of_any_size_keep_it(size):
    x = torch.randn(2, 1, *size)
    y = SliceGenerator(4, 1)(x)
    assert y.shape == x.shape and torch.isfinite(y).all()


def test_what_pads_a_slice_changes_it_as_a_continued_border_would():
    generator, x = SliceGenerator(4, 1), torch.randn(1, 1, 8, 10)
    continued = torch.cat([x, x[..., -1:], x[..., -1:]], dim=-1)
    assert torch.equal(generator(x), generator(continued)[..., :10])


def test_pixel_shuffling_leaves_no_checkerboard():
    """Whatever the weights are: constant features stay constant through the decoder."""
    generator = SliceGenerator(8, 1)
    up = generator.decoder[:2](torch.randn(1, 32, 1, 1).expand(-1, -1, 6, 6))
    assert up.shape == (1, 16, 12, 12)
    inside = up[..., 1:, 1:]  # the first row and column are repeated for the mean
    assert torch.allclose(inside, inside[..., :1, :1].expand_as(inside), atol=1e-5)


def test_a_generator_without_a_change_is_the_identity():
    generator = SliceGenerator(4, 1)
    nn.init.zeros_(generator.decoder[-1].weight)
    x = 3.9 * torch.rand(1, 1, 16, 16) - 1.9
    assert torch.allclose(generator(x), x, atol=1e-4)


def test_slices_do_not_see_each_other():
    generator, network = SliceGenerator(8, 2), CycleGAN(4, 1, 8)
    x = torch.randn(2, 1, 32, 32)
    assert torch.allclose(generator(x)[:1], generator(x[:1]), atol=1e-5)
    logits = network.discriminate("target", x)
    assert torch.allclose(logits[:1], network.discriminate("target", x[:1]), atol=1e-5)


def test_a_logit_judges_70_pixels():
    """Measured with the normalisation, which looks at the whole slice, left out."""
    discriminator = CycleGAN(4, 1, 8).discriminators["source"]
    for name, module in list(discriminator.named_modules()):
        if isinstance(module, nn.InstanceNorm2d):
            setattr(discriminator.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], nn.Identity())
    x = torch.zeros(1, 1, 160, 160, requires_grad=True)
    logits = discriminator(x)[-1]
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    rows = x.grad[0, 0].abs().sum(1).nonzero()
    assert int(rows.max() - rows.min() + 1) == 70


def test_the_network_translates_source_to_target():
    network = CycleGAN(4, 1, 4)
    x = torch.randn(1, 1, 32, 32)
    assert torch.equal(network(x), network.generators["target"](x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SliceGenerator(0), "generator_channels is 0"),
        (lambda: SliceGenerator(8, 0), "residual_blocks is 0"),
        (lambda: CycleGAN(8, 1, 0), "discriminator_channels is 0"),
        (
            lambda: checked_slice_patch([1, 30, 64]),
            r"translate_roi_size_zyx is \[1, 30, 64\]: .*at least 32",
        ),
        (lambda: checked_slice_patch([0, 64, 64]), "translate_roi_size_zyx"),
        (lambda: checked_slice_patch([64, 64]), "translate_roi_size_zyx"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_patch_that_passes_the_check_goes_through_both():
    network = CycleGAN(4, 1, 4)
    _, y, x = checked_slice_patch([1, 32, 37])
    slices = torch.randn(1, 1, y, x)
    assert torch.isfinite(network.discriminate("source", network(slices))).all()
