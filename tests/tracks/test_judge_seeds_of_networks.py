"""What is drawn to judge a network follows from its weights, on both tracks of changed networks."""

from __future__ import annotations

from typing import Any

import signature_case
import torch
import visualization_case
from torch import Tensor

from baselines.controls.identity import Identity
from baselines.controls.none import NoDefense
from benchmark.api import BackdoorAudit, Detector, VisualizationAudit
from benchmark.methods.meter import Meter
from benchmark.tracks.networks import weights_sha256
from benchmark.tracks.signature import steps as signature
from benchmark.tracks.signature.scoring import make_scorer as signature_scorer
from benchmark.tracks.visualization import steps as visualization

BIAS = "classifier.2.bias"


class Drawn(Detector):
    """A suspicion that is the audit's seed."""

    name = "drawn"
    paper = "test"
    tracks = ("visualization", "signature")

    def suspicion(self, audit: VisualizationAudit | BackdoorAudit) -> Tensor:
        samples = len(audit.units) if isinstance(audit, VisualizationAudit) else len(audit.classes)
        return torch.full((samples,), audit.seed % 2**40, dtype=torch.float64)


def nudged(forgery: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """A forgery whose named tensor differs in the last bit of one weight."""
    changed = forgery | {name: forgery[name].clone()}
    changed[name][0] = torch.nextafter(changed[name][0], changed[name].new_tensor(2.0))
    return changed


def test_a_networks_hash_is_of_its_values_and_not_of_how_they_lie_in_memory() -> None:
    model = visualization_case.network("fashion-tiny")
    before = weights_sha256(model)
    assert weights_sha256(model.to(memory_format=torch.channels_last)) == before
    weights = {key: value.clone() for key, value in model.module.state_dict().items()}
    assert weights_sha256(model.with_weights(weights)) == before
    assert weights_sha256(model.with_weights(nudged(weights, BIAS))) != before
    assert weights_sha256(model.double()) != before


def test_visualizations_of_a_network_that_changed_in_its_last_bit_start_elsewhere() -> None:
    bench = visualization_case.made(pools=None)
    forgery = visualization.forge(bench, Identity(), None, "oblivious", 0, Meter())
    reference = visualization.reference(bench, NoDefense(), 0, Meter())
    same = visualization.judge(bench, NoDefense(), forgery, 0, Meter())
    assert torch.equal(same["images"], reference["clean"]), "of a clean network, however it came"
    few = same["images"][:, : visualization_case.SOME_SEEDS]
    torch.testing.assert_close(same["paired"], few, atol=1e-4, rtol=0)  # a batch of other size
    other = visualization.judge(bench, NoDefense(), nudged(forgery, f"0/{BIAS}"), 0, Meter())
    assert (other["images"][0] - same["images"][0]).abs().mean() > 1e-3
    assert torch.equal(other["images"][1:], same["images"][1:]), "the other cases' networks are as they were"
    near = (other["paired"][0] - other["images"][0, : visualization_case.SOME_SEEDS]).abs().mean()
    assert near < 1e-3, "pairs are from the same seeds"


def test_maps_of_a_network_that_changed_in_its_last_bit_have_another_seed() -> None:
    bench = signature_case.made()
    forgery = signature.forge(bench, Identity(), None, "oblivious", 0, Meter())
    reference = signature.reference(bench, NoDefense(), 0, Meter())
    same = signature.judge(bench, NoDefense(), forgery, 0, Meter())
    assert torch.equal(same["maps"], reference["clean"]) and torch.equal(same["paired"], same["maps"])
    other = signature.judge(bench, NoDefense(), nudged(forgery, f"0/weights/{BIAS}"), 0, Meter())
    assert not torch.allclose(other["maps"][0], same["maps"][0])
    assert torch.equal(other["maps"][1:], same["maps"][1:])
    assert torch.allclose(other["maps"], other["paired"], atol=1e-3)
    columns = signature_scorer(bench).score(nudged(forgery, f"0/weights/{BIAS}"), reference, other, 0)
    assert min(columns["pcc_original"]) > 0.999


def test_detectors_draw_by_the_network_before_them_clean_or_forged() -> None:
    tracks: list[tuple[Any, Any]] = [
        (visualization, visualization_case.made()),
        (signature, signature_case.made()),
    ]
    for track, bench in tracks:
        forgery = track.forge(bench, Identity(), None, "oblivious", 0, Meter())
        name = next(key for key in forgery if key.startswith("0/") and key.endswith(BIAS))
        suspicions = [
            track.judge(bench, Drawn(), tensors, 0, Meter())["suspicion"]
            for tensors in (forgery, nudged(forgery, name))
        ]
        changed = (suspicions[0] != suspicions[1]).flatten(1) if suspicions[0].ndim > 1 else None
        moved = changed.any(1) if changed is not None else suspicions[0] != suspicions[1]
        assert moved.tolist() == [True] + [False] * (len(moved) - 1)
        natural = track.reference(bench, Drawn(), 0, Meter())
        assert len(torch.cat([scores.flatten() for scores in natural.values()]).unique()) > 1
