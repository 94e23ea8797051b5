"""CLIP as a classifier: an image's features against one embedding of a text for every class."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmark.errors import AssetError
from benchmark.files.assets import sha256_of, verified

EMBEDDINGS = "embeddings"
"""The only tensor of a file of embeddings, ``[classes, width]``."""


class ZeroShot(nn.Module):
    """Logits ``scale * cos(features, embedding of the class)`` (Radford et al. 2021, section 3.1.2).

    Args:
        features: network that gives features ``[N, width]`` of normalized images.
        embeddings: of the classes' texts, ``[classes, width]``; made unit vectors here.
        scale: what cosines are multiplied by; CLIP's is 100.
    """

    def __init__(self, features: nn.Module, embeddings: Tensor, scale: float) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("embeddings", nn.functional.normalize(embeddings.float(), dim=1))
        self.scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[N, classes]``."""
        features = self.features(inputs)
        unit = features / features.norm(dim=1, keepdim=True)
        logits: Tensor = self.scale * unit @ self.embeddings.T
        return logits


def head_file(file: str, sha256: str | None, root: Path) -> Path:
    """The file of embeddings, below the project's root.

    Raises:
        AssetError: it is missing, or not the promised one.
    """
    fix = "make it with `python tools/zero_shot_head.py`, which needs the package open_clip_torch"
    path = root / file
    if sha256 is None:
        sha256_of(path, fix)
        return path
    return verified(path, sha256, fix)


def embeddings_of(path: Path) -> Tensor:
    """The embeddings in a file, ``[classes, width]``.

    Raises:
        AssetError: it holds something else.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise AssetError(f"cannot read the embeddings {path}: {error}") from error
    found = tensors.get(EMBEDDINGS, torch.zeros(0))
    shaped = found.ndim == 2 and found.is_floating_point()
    if not shaped or not bool((found.norm(dim=1) > 0).all() and found.isfinite().all()):
        raise AssetError(f"{path} holds no {EMBEDDINGS} of classes, a vector each that is not zero")
    return found
