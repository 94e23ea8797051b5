"""Maps of clean and forged networks under the judge's draws, of whatever explainer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmark.api import Explainer, Hardening, Network, Query
from benchmark.methods.calls import call
from benchmark.methods.meter import Meter, MeteredExplainer
from benchmark.tracks import chance
from benchmark.tracks.fairwashing.workbench import Workbench
from benchmark.tracks.images import Images, predictions
from benchmark.tracks.maps import check_maps

Tensors = dict[str, Tensor]


def asking(explainer: Explainer, model: Network, meter: Meter, defense: Hardening) -> chance.Ask:
    """Asks for maps of images in a network under a seed, and checks them."""
    metered, observed = MeteredExplainer(explainer, meter), model.observed_by(meter)

    def ask(images: Images, draws: int) -> Tensor:
        query = Query(images.inputs, images.labels, draws)
        with torch.no_grad():
            maps = call(defense, partial(metered.explain, observed, query))
        height, width = images.inputs.shape[2:]
        return check_maps(defense, maps, (len(images), height, width)).to(images.inputs)

    return ask


def maps_of(
    bench: Workbench,
    explainer: Explainer,
    model: Network,
    images: Images,
    seed: int,
    meter: Meter,
    defense: Hardening,
) -> Tensor:
    """Maps ``[K, H, W]`` of images in a network under the judge's draws, checked."""
    ask, probe = (asking(explainer, model, counted, defense) for counted in (meter, Meter()))
    return chance.answers(ask, probe, images, bench.judge_seeds(images.inputs, seed))


def natural_maps(
    bench: Workbench, explainer: Explainer, seed: int, meter: Meter, defense: Hardening
) -> Tensors:
    """Maps of the clean networks, as a reference step keeps them."""
    found: dict[str, list[Tensor]] = {"clean": [], "before": [], "wanted": []}
    for case in bench.cases:

        def explain(inputs: Tensor, labels: Tensor, model: Network = bench.models[case.victim]) -> Tensor:
            return maps_of(bench, explainer, model, Images(inputs, labels), seed, meter, defense)

        inputs, labels = case.images.inputs, case.images.labels
        found["clean"].append(explain(inputs, labels))
        said = case.goal.said(labels)
        found["before"].append(found["clean"][-1] if torch.equal(said, labels) else explain(inputs, said))
        found["wanted"].append(case.goal.wanted(explain, inputs, labels))
    return {name: torch.stack(maps) for name, maps in found.items()}


def forged_maps(
    bench: Workbench, explainer: Explainer, forgery: Tensors, seed: int, meter: Meter, defense: Hardening
) -> Tensor:
    """Maps ``[N, K, H, W]`` of the forged networks, as a judge step keeps them."""
    return torch.stack(
        [
            maps_of(bench, explainer, model, images, seed, meter, defense)
            for model, images in networks_shown(bench, forgery)
        ]
    )


def networks_shown(bench: Workbench, forgery: Tensors) -> Iterator[tuple[Network, Images]]:
    """Every forged network, the images that it is judged on, and what it says of them."""
    for index in range(len(bench.cases)):
        model, trigger = bench.forged(index, forgery)
        shown = bench.shown(index, trigger)
        yield model, Images(shown, predictions(model, shown))
