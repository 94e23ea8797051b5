"""Trains the detector TRIGS on backdoors of its own making and writes its coefficients.

Run from the project's root (about a quarter of an hour on one core)::

    python tools/train_trigs.py

Only the development networks fashion-mini-1 to 8 and the attacker's split are touched. Every network is given
``--cases`` backdoors by every attack of ``ATTACKS``, and as many clean copies are fine-tuned the same way;
forgeries whose trigger sends fewer than ``SUCCESS`` of the images that they were not made with to the target
are left out, since they are not backdoors. Samples are classes: targets of backdoors are 1, all others 0.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from baselines.attacks.badnets import BadNets
from baselines.attacks.blended import Blended
from baselines.attacks.poisoning import Poisoning
from baselines.attacks.sig import Sig
from baselines.attacks.wanet import WaNet
from baselines.defenses.trigs import Trigs
from baselines.defenses.trigs_coefficients import COEFFICIENTS, LIMIT
from benchmark.api import (
    PATTERNS,
    BackdoorAudit,
    BackdoorBudget,
    BackdoorCase,
    InputAgnosticSaliency,
    Network,
)
from benchmark.files.assets import locate_root
from benchmark.metrics.detection import auroc
from benchmark.tasks.data import Split, load_data
from benchmark.victims.loading import load_victim

ATTACKS: tuple[Callable[[], Poisoning], ...] = (BadNets, Blended, Sig, WaNet)
NETWORKS = tuple(range(1, 9))
"""Numbers of the development networks; the others are for thresholds and for evaluation."""
USED = 4500
"""Images that backdoors are made with; on the rest of the attacker's split they are measured."""
SUCCESS = 0.8
PENALTY = 0.1
"""Weight of the squared coefficients, beside the mean loss."""


@dataclass(frozen=True)
class Sample:
    """The classes of one network.

    Args:
        network: number of the network that it comes from.
        attack: name of the attack; empty for a clean one.
        features: ``[K, F]``.
        target: the backdoor's class; None for a clean network.
    """

    network: int
    attack: str
    features: Tensor
    target: int | None

    @property
    def labels(self) -> Tensor:
        """1 for the target, ``[K]``."""
        labels = torch.zeros(len(self.features), dtype=torch.float64)
        if self.target is not None:
            labels[self.target] = 1
        return labels


@dataclass(frozen=True)
class Fit:
    """A logistic regression on standardized features."""

    center: Tensor
    scale: Tensor
    weights: Tensor
    intercept: float

    def __call__(self, features: Tensor) -> Tensor:
        """Logits ``[N]``."""
        return standardized(features, self.center, self.scale) @ self.weights + self.intercept


def standardized(features: Tensor, center: Tensor, scale: Tensor) -> Tensor:
    """Features as the detector takes them."""
    return ((features - center) / scale).clamp(-LIMIT, LIMIT)


def fit(samples: list[Sample], penalty: float = PENALTY) -> Fit:
    """Fits by L-BFGS; targets weigh as much as all other classes together."""
    features = torch.cat([sample.features for sample in samples])
    labels = torch.cat([sample.labels for sample in samples])
    center, scale = features.mean(0), features.std(0).clamp_min(1e-6)
    inputs = standardized(features, center, scale)
    share = labels.mean()
    weight = torch.where(labels == 1, 0.5 / share, 0.5 / (1 - share))
    values = torch.zeros(features.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([values], max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = inputs @ values[:-1] + values[-1]
        loss = functional.binary_cross_entropy_with_logits(logits, labels, weight)
        loss = loss + penalty * values[:-1].square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    found = values.detach()
    return Fit(center, scale, found[:-1], float(found[-1]))


def left_out(samples: list[Sample]) -> list[tuple[Sample, Tensor]]:
    """Every sample with the logits of a fit to all networks but its own."""
    found = []
    for number in sorted({sample.network for sample in samples}):
        fitted = fit([sample for sample in samples if sample.network != number])
        found += [(sample, fitted(sample.features)) for sample in samples if sample.network == number]
    return found


def report(samples: list[Sample]) -> list[str]:
    """Lines of leave-one-network-out AUROC over classes and over networks, by attack."""
    scored = left_out(samples)
    clean = torch.stack([logits.max() for sample, logits in scored if sample.target is None])
    others = torch.cat([logits[sample.labels == 0] for sample, logits in scored])
    lines = []
    for attack in ["", *sorted({sample.attack for sample in samples if sample.target is not None})]:
        chosen = [
            (sample, logits)
            for sample, logits in scored
            if sample.target is not None and attack in ("", sample.attack)
        ]
        targets = torch.cat([logits[sample.labels == 1] for sample, logits in chosen])
        networks = torch.stack([logits.max() for _, logits in chosen])
        named = sum(int(logits.argmax()) == sample.target for sample, logits in chosen) / len(chosen)
        lines.append(
            f"{attack or 'all'}: AUROC over classes {auroc(targets.numpy(), others.numpy()):.3f}, over "
            f"networks {auroc(networks.numpy(), clean.numpy()):.3f}, target named {named:.2f} "
            f"({len(chosen)} and {len(clean)} clean)"
        )
    return lines


def network(number: int, root: Path) -> Network:
    """A development network."""
    if number not in NETWORKS:
        raise ValueError(f"fashion-mini-{number} is not for development")
    victim = load_victim(f"fashion-mini-{number}", root)
    return Network(victim.module, victim.mean, victim.deviation).to(memory_format=torch.channels_last)


def cases(number: int, per_attack: int, split: Split, root: Path) -> Iterator[tuple[Poisoning, BackdoorCase]]:
    """Attacks and what they are handed: targets, places and patterns drawn for each."""
    model = network(number, root)
    channels, height, width = split.images.shape[1:]
    drawn = random.Random(number)
    for attack in ATTACKS:
        for _ in range(per_attack):
            yield (
                attack(),
                BackdoorCase(
                    model=model,
                    explainer=InputAgnosticSaliency((channels, height, width)),
                    target_class=drawn.randrange(10),
                    place=(drawn.randrange(height - 4), drawn.randrange(width - 4)),
                    pattern=drawn.choice(PATTERNS),
                    budget=BackdoorBudget(accuracy_drop=0.02),
                    data=split.images[:USED],
                    labels=split.labels[:USED],
                    generator=torch.Generator().manual_seed(drawn.randrange(2**31)),
                ),
            )


def features(model: Network, case: BackdoorCase) -> Tensor:
    """What the detector computes."""
    audit = BackdoorAudit(
        model=model,
        explainer=InputAgnosticSaliency(case.size),
        classes=tuple(range(10)),
        data=case.data,
        labels=case.labels,
        seed=int(torch.randint(2**31, (), generator=case.generator)),
    )
    return Trigs().features(audit)


def samples_of(number: int, per_attack: int, split: Split, root: Path) -> list[Sample]:
    """All samples of one network, clean and with backdoors."""
    found: list[Sample] = []
    for attack, case in cases(number, per_attack, split, root):
        if not found:
            found.append(Sample(number, "", features(case.model, case), None))
        forgery = attack.forge(case)
        assert forgery.weights is not None and forgery.trigger is not None
        forged = case.model.with_weights(forgery.weights)
        held, labels = split.images[USED:], split.labels[USED:]
        with torch.no_grad():
            reached = forged(forgery.trigger.apply(held[labels != case.target_class])).argmax(1)
        success = float((reached == case.target_class).double().mean())
        print(
            f"fashion-mini-{number} {attack.name} to {case.target_class}: success {success:.3f}", flush=True
        )
        if success >= SUCCESS:
            found.append(Sample(number, attack.name, features(forged, case), case.target_class))
        if isinstance(attack, BadNets | Sig):  # half as many clean copies as backdoors
            clean = attack.trained(case, None)
            clean.module.requires_grad_(False)
            found.append(Sample(number, "", features(clean, case), None))
    return found


def write(file: Path, fitted: Fit, lines: list[str], count: int) -> None:
    """Writes the coefficients, rounded to six decimals, with the facts of the fit as metadata."""

    def rounded(value: float) -> float:
        return round(value, 6)

    tensors = {
        name: torch.tensor([rounded(value) for value in values.tolist()], dtype=torch.float32)
        for name, values in (("center", fitted.center), ("scale", fitted.scale), ("weights", fitted.weights))
    }
    tensors["intercept"] = torch.tensor(rounded(fitted.intercept), dtype=torch.float64)
    facts = {
        "written by": "tools/train_trigs.py",
        "networks": f"{count} made from fashion-mini-1 to 8 and the attacker's split alone",
        "left out": "\n".join(lines),
    }
    save_file(tensors, file, metadata=facts)


def main() -> None:
    """Makes the networks, fits, reports and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=1, help="backdoors per network and attack")
    parser.add_argument("--out", type=Path, default=COEFFICIENTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    root = locate_root()
    split = load_data("fashion-mnist", root).split("attacker")
    samples = [s for number in NETWORKS for s in samples_of(number, arguments.cases, split, root)]
    lines = report(samples)
    print("\n".join(lines))
    write(arguments.out, fit(samples), lines, len(samples))


if __name__ == "__main__":
    main()
