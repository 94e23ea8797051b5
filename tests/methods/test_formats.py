"""Forged images have the bits of natural ones."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmark.methods.formats import eight_bits, eight_bits_within


@given(st.integers(0, 2**31), st.floats(0.0, 0.2))
def test_forged_values_are_n_over_255_in_the_very_bits_of_natural_ones(seed: int, linf: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randint(0, 256, (2, 1, 3, 3), generator=generator).float() / 255
    inputs = clean + linf * (2 * torch.rand(clean.shape, generator=generator) - 1)
    natural = {value.tobytes() for value in (torch.arange(256).float() / 255).numpy()}
    for forged in (eight_bits_within(inputs, clean, linf), eight_bits(inputs)):
        assert {value.tobytes() for value in forged.flatten().numpy()} <= natural
        assert not torch.signbit(forged).any(), "a negative zero would give a forgery away"


def test_what_is_rounded_up_to_nothing_is_nothing() -> None:
    clean = torch.zeros(1, 1, 2, 2)
    inputs = torch.full_like(clean, -1e-3)
    assert not torch.signbit(eight_bits_within(inputs, clean, 0.1)).any()
    assert not torch.signbit(eight_bits(inputs)).any()
