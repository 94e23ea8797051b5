"""A network is built as its publisher builds it for its weights, which is not how it builds an empty one.

torchvision's builders choose some arguments when weights are named: the same weights in a network that was
built without them can give other logits, with no key or shape to show it (googlenet, inception_v3: their
inputs are normalized anew). ``tests/victims/test_builders.py`` compares networks of every kind with those
that torchvision builds itself.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from benchmark.errors import TaskError, unknown

_OLDER = re.compile(r"(\.denselayer[0-9]+\.(?:norm|conv))\.([12]\.)")
"""In ``denselayer1.norm.1.weight``, which is ``denselayer1.norm1.weight`` today."""


def torchvision_network(name: str, weights: str) -> nn.Module:
    """A torchvision classifier with random weights, built as for the named ones.

    Raises:
        TaskError: torchvision has no such classifier, or no such weights of it.
    """
    import torchvision

    if name.lower() not in torchvision.models.list_models(module=torchvision.models):
        raise TaskError(
            f"torchvision has no classifier {name!r}, or one of integers, frames or regions: see "
            "torchvision.models.list_models(module=torchvision.models)"
        )
    builder = torchvision.models.get_model_builder(name)
    try:
        choice = torchvision.models.get_model_weights(name)[weights]
    except (KeyError, ValueError) as error:
        raise TaskError(f"torchvision has no weights {weights!r} of a model {name!r}") from error
    module: nn.Module = builder(weights=None, **_chosen(builder, choice.meta))
    return module


def empty_network(library: str, name: str, classes: int, settings: Mapping[str, Any]) -> nn.Module:
    """A classifier of a library for a person's own weights.

    Args:
        library: ``torchvision`` or ``timm``.
        name: of the library's.
        classes: number of logits.
        settings: other arguments of the library's builder.

    Raises:
        TaskError: the library has no such classifier, or its weights leave a setting open.
        TypeError, ValueError: it takes no such settings.
    """
    if library == "timm":
        import timm

        if not timm.is_model(name):
            raise unknown("timm model", name, timm.list_models())
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, **settings)
        return network
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name.lower() not in known:
        raise unknown("torchvision classifier", name, known)
    builder = torchvision.models.get_model_builder(name)
    anew = name.lower() in ("googlenet", "inception_v3")
    if anew and "transform_input" not in settings:
        raise TaskError(
            f"weights of torchvision's {name} do not tell whether it normalizes its inputs anew, and its "
            "logits follow from that: give the setting transform_input, true where training began from "
            "torchvision's weights (an audit takes it of a module: benchmark.audit(network, ...))"
        )
    # Drawing weights takes these two a minute, and they are replaced.
    quick = {"init_weights": False} if anew else {}
    module: nn.Module = builder(weights=None, num_classes=classes, **quick, **settings)
    return module


def trim(module: nn.Module) -> None:
    """Takes off the heads that only training uses, where torchvision does so once weights are loaded."""
    import torchvision

    if isinstance(module, torchvision.models.GoogLeNet):
        module.aux_logits = False
        module.aux1 = module.aux2 = None


def present_names(module: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the names that torchvision gives them today: its files of DenseNets have older ones."""
    import torchvision

    if not isinstance(module, torchvision.models.DenseNet):
        return dict(weights)
    return {_OLDER.sub(r"\1\2", name): weight for name, weight in weights.items()}


def _chosen(builder: Any, meta: dict[str, Any]) -> dict[str, Any]:
    """Arguments that a builder chooses by the weights it is given."""
    from torchvision.models import GoogLeNet, Inception3, MaxVit, VisionTransformer

    categories = meta.get("categories")  # none where the weights have no last layer
    chosen: dict[str, Any] = {} if categories is None else {"num_classes": len(categories)}
    made = inspect.signature(builder).return_annotation
    built = {kind.__name__: kind for kind in (GoogLeNet, Inception3, MaxVit, VisionTransformer)}
    kind = built.get(made if isinstance(made, str) else getattr(made, "__name__", ""))
    if kind in (GoogLeNet, Inception3):
        # The other heads are in the weights' file; see trim().
        chosen |= {"transform_input": True, "aux_logits": True, "init_weights": False}
    if kind is VisionTransformer:
        chosen["image_size"] = meta["min_size"][0]
    if kind is MaxVit:
        chosen["input_size"] = meta["min_size"]
    return chosen
