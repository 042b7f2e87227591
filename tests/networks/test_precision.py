"""The dtype of a forward pass follows what the device computes natively."""

import pytest
import torch

from crossem.networks import native_dtype


@pytest.mark.parametrize("avx512, amx", [(True, False), (False, True), (False, False)])
def test_cpu_uses_bfloat16_only_where_native(monkeypatch, avx512, amx):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert native_dtype("cpu") == (torch.bfloat16 if avx512 or amx else torch.float32)


@pytest.mark.parametrize("native, expected", [(True, torch.bfloat16), (False, torch.float16)])
def test_cuda_falls_back_to_float16(monkeypatch, native, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert native_dtype(torch.device("cuda:0")) == expected


def test_other_devices_use_float32():
    assert native_dtype("meta") == torch.float32
