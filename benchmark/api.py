"""The contract between Potemkin and a method: all that a submitter imports.

A method is a class in a file of its own. It is given a batch of samples that never interact, metered access
to the network and to the explanation, and nothing else; whatever it returns is checked and recomputed by the
harness. A complete attack::

    class SignStep(Attack):
        name = "sign_step"
        paper = "one step of projected gradient descent"

        def forge(self, case: Case) -> Forgery:
            inputs = case.inputs.clone().requires_grad_()
            maps = case.explain(inputs, smoothing=Gate(beta=30.0))
            loss = (maps - case.target).square().sum()
            (gradient,) = torch.autograd.grad(loss, inputs)
            return Forgery(case.project(case.inputs - case.step_size * gradient.sign()))

Where to read on: :mod:`benchmark.methods`: what a method is (``base``), and what it is handed, one module per
track.
"""

from __future__ import annotations

from benchmark.explainers.agnostic import ClassExplainer, InputAgnosticSaliency
from benchmark.explainers.base import Explainer, Query, correlation
from benchmark.explainers.checked import build_explainer
from benchmark.explainers.visualization import FeatureVisualization, Unit, Visualizations, Visualizer
from benchmark.methods.base import Attack, Detector, Forgery, Hardening, Method, Mode, TaskFacts
from benchmark.methods.budgets import Budget, FlowBudget, L2Budget, LInfBudget, PatchBudget
from benchmark.methods.fairwashing import (
    GOALS,
    FairwashingAudit,
    FairwashingBudget,
    FairwashingCase,
    FairwashingFacts,
    MapGoal,
)
from benchmark.methods.repair import Defense, Outlasting, Rehearsal, Repair, RepairCase
from benchmark.methods.saliency import Audit, Case
from benchmark.methods.signature import BackdoorAudit, BackdoorBudget, BackdoorCase
from benchmark.methods.triggers import PATTERNS, Trigger, patch_trigger
from benchmark.methods.visualization import ModelBudget, VisualizationAudit, VisualizationCase
from benchmark.network import EXACT, Gate, Network, Smoothing, Softplus
from benchmark.network.batches import at_once, in_batches
from benchmark.network.walks import as_network

__all__ = [
    "EXACT",
    "GOALS",
    "PATTERNS",
    "Attack",
    "Audit",
    "BackdoorAudit",
    "BackdoorBudget",
    "BackdoorCase",
    "Budget",
    "Case",
    "ClassExplainer",
    "Defense",
    "Detector",
    "Explainer",
    "FairwashingAudit",
    "FairwashingBudget",
    "FairwashingCase",
    "FairwashingFacts",
    "FeatureVisualization",
    "FlowBudget",
    "Forgery",
    "Gate",
    "Hardening",
    "InputAgnosticSaliency",
    "L2Budget",
    "LInfBudget",
    "MapGoal",
    "Method",
    "Mode",
    "ModelBudget",
    "Network",
    "Outlasting",
    "PatchBudget",
    "Query",
    "Rehearsal",
    "Repair",
    "RepairCase",
    "Smoothing",
    "Softplus",
    "TaskFacts",
    "Trigger",
    "Unit",
    "VisualizationAudit",
    "VisualizationCase",
    "Visualizations",
    "Visualizer",
    "as_network",
    "at_once",
    "build_explainer",
    "correlation",
    "in_batches",
    "patch_trigger",
]
