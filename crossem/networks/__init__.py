"""Networks: the anisotropic U-Net, its plan and its weights."""

from crossem.networks.cyclegan import CycleGAN, SliceGenerator, checked_slice_patch
from crossem.networks.domain_discriminator import DomainDiscriminator, feature_levels
from crossem.networks.gradient_reversal import ganin_ramp, gradient_reversal
from crossem.networks.map_discriminator import MapDiscriminator
from crossem.networks.plan import UNetPlan, plan_unet
from crossem.networks.precision import forward_autocast, native_dtype
from crossem.networks.unet import AnisotropicUNet, Decoder, Encoder
from crossem.networks.weights import freeze_encoder_levels, load_torch_file, load_weights, prepare_network

__all__ = [
    "AnisotropicUNet",
    "CycleGAN",
    "Decoder",
    "DomainDiscriminator",
    "Encoder",
    "MapDiscriminator",
    "SliceGenerator",
    "UNetPlan",
    "checked_slice_patch",
    "feature_levels",
    "freeze_encoder_levels",
    "forward_autocast",
    "ganin_ramp",
    "gradient_reversal",
    "load_torch_file",
    "load_weights",
    "native_dtype",
    "plan_unet",
    "prepare_network",
]
