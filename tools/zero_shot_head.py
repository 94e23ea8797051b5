"""Makes a zero-shot head: CLIP's embedding of every class's name, averaged over templates.

Needs the package ``open_clip_torch`` and, the first time, the network's text encoder from its hub::

    pip install open_clip_torch
    python tools/zero_shot_head.py                      # for the victim imagenet-clip-vit-b16
    python tools/zero_shot_head.py --names classes.txt  # one name a line, in the order of the logits

Names of ImageNet's classes are those that timm knows, cut after the first comma. The seven templates are
those that the authors of CLIP found to be nearly as good as their eighty.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmark.files.assets import locate_root
from benchmark.victims.manifest import TimmEntry, victim_entry
from benchmark.victims.zero_shot import EMBEDDINGS

TEMPLATES = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)


def imagenet_names() -> list[str]:
    """Names of ImageNet's thousand classes, in the order of logits."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    return [info.index_to_description(index).split(",")[0] for index in range(1000)]


def embedded(names: list[str], encode: Any, tokenize: Any) -> Tensor:
    """Unit vectors ``[classes, width]``, the mean over templates of each template's own.

    Args:
        names: of the classes.
        encode: features ``[N, width]`` of tokens.
        tokenize: tokens of texts.
    """
    rows = []
    with torch.no_grad():
        for name in names:
            found = encode(tokenize([template.format(name) for template in TEMPLATES])).float()
            mean = torch.nn.functional.normalize(found, dim=1).mean(0)
            rows.append(mean / mean.norm())
    return torch.stack(rows)


def main() -> int:
    """Writes the file that the victim's entry names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("victim", nargs="?", default="imagenet-clip-vit-b16")
    parser.add_argument("--model", default="ViT-B-16-quickgelu", help="open_clip's name of the network")
    parser.add_argument("--pretrained", default="openai", help="open_clip's name of the weights")
    parser.add_argument("--names", type=Path, help="names of the classes, one a line")
    given = parser.parse_args()
    root = locate_root()
    entry = victim_entry(given.victim, root)
    if not isinstance(entry, TimmEntry) or entry.head is None:
        print(f"victim {given.victim} has no zero-shot head", file=sys.stderr)
        return 2
    try:
        open_clip: Any = importlib.import_module("open_clip")
    except ImportError:
        print("the package open_clip_torch is missing: pip install open_clip_torch", file=sys.stderr)
        return 2
    names = given.names.read_text(encoding="utf-8").splitlines() if given.names else imagenet_names()
    if len(names) != entry.classes:
        print(f"{len(names)} names for {entry.classes} classes", file=sys.stderr)
        return 2
    model, _, _ = open_clip.create_model_and_transforms(given.model, pretrained=given.pretrained)
    found = embedded(names, model.eval().encode_text, open_clip.get_tokenizer(given.model))
    path = root / entry.head
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({EMBEDDINGS: found.contiguous()}, path)
    print(f"{path}: {len(names)} classes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
