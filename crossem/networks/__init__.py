"""Networks: the anisotropic U-Net, its plan and its weights."""

from crossem.networks.plan import UNetPlan, plan_unet
from crossem.networks.precision import native_dtype
from crossem.networks.unet import AnisotropicUNet, Decoder, Encoder
from crossem.networks.weights import freeze_encoder_levels, load_torch_file, load_weights, prepare_network

__all__ = [
    "AnisotropicUNet",
    "Decoder",
    "Encoder",
    "UNetPlan",
    "freeze_encoder_levels",
    "load_torch_file",
    "load_weights",
    "native_dtype",
    "plan_unet",
    "prepare_network",
]
