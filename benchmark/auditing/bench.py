"""A person's pictures as a task of track `saliency`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmark.auditing.pictures import chosen
from benchmark.auditing.subject import Subject
from benchmark.explainers import Explainer
from benchmark.files.assets import locate_root
from benchmark.tasks.parts import ExplainerSpec
from benchmark.tracks.images import Images, predictions
from benchmark.tracks.saliency.task import BudgetSpec, SaliencyTask
from benchmark.tracks.saliency.workbench import Workbench

_BATCH = 8


def own_bench(
    subject: Subject,
    pictures: Tensor,
    labels: Sequence[int | str] | None,
    names: Sequence[str],
    explainer: Explainer,
    budget: float,
) -> Workbench:
    """The pictures as a task of track `saliency`, ready."""
    predicted = predictions(subject.network, pictures)
    found = chosen(len(pictures), labels, names, subject.classes, predicted)
    order = targets_among(found)
    cases = Images(pictures, found)
    task = SaliencyTask(
        id="audit/own",
        version=1,
        title="a person's own network",
        track="saliency",
        victim="own",
        data="own",
        explainer=ExplainerSpec(name=explainer.name),
        cases=len(pictures),
        batch=_BATCH,
        budget=BudgetSpec(linf=budget),
    )
    return Workbench(
        task=task,
        device=torch.device("cpu"),
        model=subject.network,
        explainer=explainer,
        cases=cases,
        targets=Images(pictures[order], found[order]),
        calibration=cases,
        negatives=cases,
        natural=pictures,
        root=locate_root(),
    )


def targets_among(labels: Tensor) -> Tensor:
    """For each picture the next one of another class, or the next one."""
    count = len(labels)
    order = []
    for index in range(count):
        others = [(index + step) % count for step in range(1, count)]
        order.append(next((one for one in others if labels[one] != labels[index]), others[0]))
    return torch.tensor(order)
