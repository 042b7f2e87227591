"""The sliding window against the direct forward pass, numpy's padding and MONAI's own window."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import sliding_window_inference
from scipy.signal.windows import gaussian
from torch import nn

from crossem import InputError
from crossem.inference import SlidingWindowInferer
from crossem.networks import native_dtype


class ToyUNet(nn.Module):
    """Two levels, pooled 1x2x2, so windows must be multiples of (1, 2, 2)."""

    def __init__(self, out_channels: int = 2) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv3d(8, 8, 3, padding=1, stride=(1, 2, 2)), nn.ReLU())
        self.up = nn.ConvTranspose3d(8, 8, (1, 2, 2), stride=(1, 2, 2))
        self.head = nn.Conv3d(16, out_channels, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        shallow = self.down(image)
        return self.head(torch.cat([shallow, self.up(self.deep(shallow))], dim=1))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return ToyUNet().eval()


def _identity(image: torch.Tensor) -> torch.Tensor:
    return image


def _inferer(*args, **kwargs) -> SlidingWindowInferer:
    return SlidingWindowInferer(*args, **{"dtype": torch.float32, "divisor_zyx": (1, 2, 2)} | kwargs)


@pytest.mark.parametrize("out_channels", [2, 4])
def test_one_window_equals_the_forward_pass(out_channels):
    torch.manual_seed(0)
    network, volume = ToyUNet(out_channels).eval(), torch.rand(1, 1, 6, 32, 40)
    with torch.no_grad():
        expected = torch.softmax(network(volume), dim=1)
    output = _inferer((6, 32, 40))(volume, network)
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", [(40, 70, 64), (8, 65, 33), (1, 63, 129), (3, 5, 64), (5, 31, 7), (1, 1, 1)])
@pytest.mark.parametrize("sw_batch_size", [1, 3])
def test_blending_is_a_partition_of_unity(shape, sw_batch_size):
    volume = torch.rand(1, 2, *shape)
    output = _inferer((8, 32, 32), softmax=False, sw_batch_size=sw_batch_size)(volume, _identity)
    torch.testing.assert_close(output, volume, atol=1e-6, rtol=1e-6)


def test_constant_network_gives_constant_probabilities():
    def logits(image):
        return torch.tensor([0.0, 1.0, 2.0]).view(1, 3, 1, 1, 1).expand(image.shape[0], 3, *image.shape[2:])

    output = _inferer((8, 16, 16))(torch.rand(1, 1, 20, 37, 50), logits)
    expected = torch.softmax(torch.tensor([0.0, 1.0, 2.0]), 0).view(1, 3, 1, 1, 1).expand_as(output)
    torch.testing.assert_close(output, expected)


def test_matches_monai_gaussian_window(network):
    roi, volume = (8, 32, 32), torch.rand(1, 1, 24, 64, 48)  # half-overlapping windows end with the volume
    z, y, x = (gaussian(size, size * 0.125) for size in roi)
    importance = torch.from_numpy(np.einsum("z,y,x->zyx", z, y, x))
    with torch.no_grad():
        expected = sliding_window_inference(volume, roi, 1, network, 0.5, roi_weight_map=importance)
    output = _inferer(roi, overlap=0.5, softmax=False)(volume, network)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 30, 47), (3, 9, 40), (5, 5, 5)])
def test_short_axes_are_reflected_to_the_next_multiple_of_the_divisor(shape):
    seen = []

    def spy(window):
        seen.append(window.clone())
        return window

    volume = torch.rand(1, 1, *shape)
    SlidingWindowInferer((8, 64, 64), divisor_zyx=(2, 8, 8), softmax=False, dtype=torch.float32)(volume, spy)
    multiples = [-(-n // d) * d for n, d in zip(shape, (2, 8, 8), strict=True)]
    padding = [(0, m - n) for n, m in zip(shape, multiples, strict=True)]
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0][0, 0], np.pad(volume[0, 0].numpy(), padding, mode="reflect"))


def test_no_window_is_deeper_than_asked_for():
    inferer = SlidingWindowInferer((8, 32, 32), divisor_zyx=(2, 8, 8))
    assert {inferer.plan((depth, 64, 64))[0].window for depth in (8, 9, 15, 16, 17, 100)} == {8}
    assert inferer.plan((9, 64, 64))[0].starts == (0, 1)


def test_neighbouring_windows_overlap_as_asked_and_reach_the_end():
    axis = SlidingWindowInferer((8, 32, 32), overlap=0.25).plan((8, 32, 101))[2]
    assert axis.starts[0] == 0 and axis.starts[-1] == 101 - 32
    assert np.diff(axis.starts).max() <= 24
    assert SlidingWindowInferer((8, 32, 30), divisor_zyx=(1, 8, 8)).roi_size_zyx == (8, 32, 32)


def test_integer_volume_and_metatensor(network):
    image = torch.randint(0, 255, (1, 1, 4, 40, 40), dtype=torch.uint8)
    affine = torch.diag(torch.tensor([4.0, 5.0, 6.0, 1.0], dtype=torch.float64))
    output = _inferer((4, 32, 32))(MetaTensor(image, affine=affine), network)
    assert isinstance(output, MetaTensor)
    torch.testing.assert_close(output.affine, affine)
    torch.testing.assert_close(output.as_tensor(), _inferer((4, 32, 32))(image.float(), network))


def test_result_can_be_changed_in_place_afterwards(network):
    output = _inferer((4, 32, 32))(torch.rand(1, 1, 4, 40, 40), network)
    output += 1
    assert not output.is_inference()


@pytest.mark.parametrize("script", [False, True])
def test_low_precision_agrees_with_float32(network, script):
    dtype = native_dtype("cpu")
    if dtype == torch.float32:
        pytest.skip("this CPU has no native bfloat16")
    volume = torch.rand(1, 1, 8, 64, 64)
    exact = _inferer((8, 48, 48))(volume, network).argmax(1)
    low = _inferer((8, 48, 48), dtype=None)(volume, torch.jit.script(network) if script else network)
    assert low.dtype == torch.float32
    assert (low.argmax(1) == exact).float().mean() > 0.99


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_network_runs_in_the_dtype_asked_for(dtype):
    seen = set()
    layer = nn.Conv3d(1, 2, 1)
    layer.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):  # an evaluator with AMP surrounds the call
        _inferer((4, 16, 16), dtype=dtype)(torch.rand(1, 1, 4, 16, 16), layer)
    assert seen == {dtype}


def test_arguments_reach_the_network():
    output = _inferer((4, 16, 16), softmax=False)(torch.ones(1, 1, 4, 16, 16), lambda x, a, b: x * a + b, 2.0, b=3.0)
    assert (output == 5).all()


def test_windows_go_to_the_networks_device_and_the_result_stays_with_the_volume():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    volume, network = torch.rand(1, 1, 4, 40, 40), ToyUNet().eval()
    expected = _inferer((4, 32, 32))(volume, network)
    output = _inferer((4, 32, 32))(volume, network.cuda())
    assert output.device == volume.device
    torch.testing.assert_close(output, expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"roi_size_zyx": (8, 32)}, "roi_size_zyx is"),
        ({"roi_size_zyx": (8, 32, 0)}, "roi_size_zyx is"),
        ({"roi_size_zyx": (8, 32, 32), "divisor_zyx": (1, 0, 1)}, "divisor_zyx is"),
        ({"roi_size_zyx": (8, 32, 32), "overlap": 1.0}, "overlap is"),
        ({"roi_size_zyx": (8, 32, 32), "sw_batch_size": 0}, "sw_batch_size is"),
    ],
)
def test_wrong_settings_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        SlidingWindowInferer(**arguments)


def test_wrong_volumes_and_networks_are_named():
    inferer = _inferer((4, 16, 16))
    with pytest.raises(InputError, match="shape"):
        inferer(torch.rand(1, 4, 16, 16), _identity)
    with pytest.raises(InputError, match="one channel"):
        inferer(torch.rand(1, 1, 4, 16, 16), _identity)
    with pytest.raises(InputError, match="divisor_zyx"):
        inferer(torch.rand(1, 1, 4, 16, 16), lambda x: x[..., 1:])
