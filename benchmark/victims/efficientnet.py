"""Weights named as in ``efficientnet-pytorch`` are renamed for timm, and nothing is dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

_STEM_AND_HEAD = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_SEPARABLE_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_INVERTED_RESIDUAL_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def timm_keys(weights: Mapping[str, Tensor], depths: Sequence[int]) -> dict[str, Tensor]:
    """The same tensors under timm's names.

    The source counts blocks through the network (``_blocks.7``), timm within a stage
    (``blocks.3.2``). The first stage has no expansion, so its layers shift by one name.

    Args:
        weights: tensors by ``efficientnet-pytorch`` name.
        depths: number of blocks of every stage.

    Raises:
        KeyError: a name is not one of that family's.
    """
    places = [(stage, block) for stage, depth in enumerate(depths) for block in range(depth)]
    renamed: dict[str, Tensor] = {}
    for key, value in weights.items():
        layer, rest = key.split(".", 1)
        if layer != "_blocks":
            renamed[f"{_STEM_AND_HEAD[layer]}.{rest}"] = value
            continue
        number, layer, parameter = rest.split(".", 2)
        if int(number) >= len(places):
            raise KeyError(key)
        stage, block = places[int(number)]
        names = _INVERTED_RESIDUAL_BLOCK if stage else _SEPARABLE_BLOCK
        renamed[f"blocks.{stage}.{block}.{names[layer]}.{parameter}"] = value
    return renamed
