"""What detectors of networks are calibrated and tested on: clean networks, and harmlessly trained ones."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch.nn import functional

from benchmark.methods.formats import as_stored
from benchmark.network import Network
from benchmark.seeds import seed_of
from benchmark.tasks.data import Split
from benchmark.tasks.parts import PoolSpec
from benchmark.tracks.networks import weights_sha256
from benchmark.tracks.workbenches import Workbench

_STEPS = 100
_BATCH = 32
_RATE = 1e-2
"""Changes weights by .4 to .6 of their norm, which grows by .1 to .2; attacks by .3 to .4, and by .1."""
_LOYALTY = 0.9
"""Share of the answers that is the clean network's own; the rest is the true class."""

Pools = dict[str, dict[str, Network]]
"""Networks by name, under ``calibration_KIND`` and ``negative_KIND``; kinds are clean and finetuned."""

_MADE: WeakKeyDictionary[Workbench, Pools] = WeakKeyDictionary()
"""All detectors of a task are asked about the same networks, and training them takes seconds."""


def pools_of(bench: Workbench, spec: PoolSpec, models: dict[str, Network], data: Split) -> Pools:
    """The pools of a task.

    Args:
        bench: the task, ready.
        spec: names of the networks.
        models: clean networks by name.
        data: natural images to train on.
    """
    if bench not in _MADE:
        made: Pools = {}
        for role, names in (("calibration", spec.calibration), ("negative", spec.negatives)):
            made[f"{role}_clean"] = {name: models[name] for name in names}
            made[f"{role}_finetuned"] = {name: finetuned(models[name], data) for name in names}
        _MADE[bench] = made
    return _MADE[bench]


def finetuned(model: Network, data: Split) -> Network:
    """The network after training as attacks do it, with nothing to hide.

    AdamW with a rate that falls to nothing, batch norms' statistics frozen, and answers that are mostly the
    network's own; the weights are rounded as forged ones are. What is drawn follows from the clean weights.
    They change at least as much as forged ones, so that how large weights are gives no forgery away.

    Args:
        model: a clean network, frozen.
        data: images ``[M, C, H, W]`` and their classes ``[M]``.
    """
    generator = torch.Generator().manual_seed(seed_of("finetuned", weights_sha256(model)))
    trained = model.trainable_copy()
    optimizer = torch.optim.AdamW(trained.module.parameters(), lr=_RATE)
    for step in range(_STEPS):
        optimizer.param_groups[0]["lr"] = _RATE * (1 - step / _STEPS)
        chosen = torch.randint(len(data.labels), (_BATCH,), generator=generator).to(data.labels.device)
        inputs = data.images[chosen]
        with torch.no_grad():
            own = model(inputs).softmax(1)
        answers = _LOYALTY * own + (1 - _LOYALTY) * functional.one_hot(data.labels[chosen], own.shape[1]).to(
            own
        )
        with torch.enable_grad():
            loss = functional.cross_entropy(trained(inputs), answers)
            optimizer.zero_grad()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.module.parameters(), 1.0)
        optimizer.step()
    weights = {name: value.detach() for name, value in trained.module.state_dict().items()}
    return model.with_weights(as_stored(weights, model.module.state_dict()))
