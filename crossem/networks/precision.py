"""The number format of a forward pass."""

import torch


def native_dtype(device: torch.device | str) -> torch.dtype:
    """The fastest dtype that `device` computes natively and that is safe for a forward pass.

    bfloat16 on CPUs with AVX512-BF16 or AMX and on GPUs that have it, float16 on other GPUs, else float32
    (emulated bfloat16 is slower than float32).
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return torch.bfloat16
    return torch.float32


def forward_autocast(device: torch.device | str, dtype: torch.dtype | None = None) -> torch.autocast:
    """Autocast for a forward pass without a backward one.

    Args:
        device: of the network.
        dtype: None takes `native_dtype`; float32 means no autocast at all, whatever surrounds the call.
    """
    dtype = dtype or native_dtype(device)
    return torch.autocast(torch.device(device).type, dtype=dtype, enabled=dtype != torch.float32)
