"""Classifiers as explicit graphs that explanations walk, forward and back."""

from benchmark.network.graph import Listener, Network
from benchmark.network.smoothing import EXACT, Gate, Smoothing, Softplus

__all__ = ["EXACT", "Gate", "Listener", "Network", "Smoothing", "Softplus"]
