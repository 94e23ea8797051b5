"""What an exported program says of its nodes: which are weights, and which follow from the images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from benchmark.network.calls import SHAPES_ALONE
from benchmark.network.captured import Stored, Weight
from benchmark.network.nodes import call_name


class Program:
    """The nodes of a ``torch.export.ExportedProgram``."""

    def __init__(self, exported: Any) -> None:
        signature = exported.graph_signature
        self.graph: fx.Graph = exported.graph_module.graph
        self.outputs = signature.output_specs
        self._holder = exported.graph_module
        self._weights = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self._lifted = signature.inputs_to_lifted_tensor_constants
        self._constants = exported.constants
        self._known_dependence: dict[fx.Node, bool] = {}

    def is_input(self, node: fx.Node) -> bool:
        """Whether a node is the images, or another argument of the module."""
        return node.op == "placeholder" and node.name not in self._weights and node.name not in self._lifted

    def depends(self, node: Any) -> bool:
        """Whether a value follows from the inputs' values, with a gradient or without."""
        if not isinstance(node, fx.Node) or node.op in ("output", "get_attr"):
            return False
        if node not in self._known_dependence:
            value = node.meta.get("val")
            if node.op == "placeholder":
                found = self.is_input(node)
            elif isinstance(value, torch.SymInt | int) or call_name(node) in SHAPES_ALONE:
                found = False
            else:
                found = any(self.depends(part) for part in node.all_input_nodes)
            self._known_dependence[node] = found
        return self._known_dependence[node]

    def constant(self, node: fx.Node) -> Tensor | None:
        """The tensor that a node always is."""
        if node.op == "get_attr":
            value = getattr(self._holder, str(node.target))
        else:
            value = self._constants.get(self._lifted.get(node.name, ""))
        return value if isinstance(value, Tensor) else None

    def stored(self, node: fx.Node) -> Weight | Stored | None:
        """What stands for a tensor that does not follow from the images; nothing for what is computed."""
        if node.op == "placeholder":
            if node.name in self._weights:
                return Weight(self._weights[node.name])
            return Stored(self._constants[self._lifted[node.name]])
        if node.op == "get_attr":
            return Stored(getattr(self._holder, str(node.target)))
        return None
