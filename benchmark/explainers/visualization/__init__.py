"""Feature visualization: what an image must look like for a unit of the network to fire."""

from benchmark.explainers.visualization.parametrizations import (
    Fourier,
    MagnitudeConstrained,
    Parametrization,
    Pixel,
    magnitude_spectrum,
)
from benchmark.explainers.visualization.procedures import (
    Consensus,
    FeatureVisualization,
    Visualizations,
    Visualizer,
)
from benchmark.explainers.visualization.transformations import Transformations
from benchmark.explainers.visualization.units import (
    LOGITS,
    Readout,
    Unit,
    check_unit,
    executed,
    layer_activations,
)

__all__ = [
    "LOGITS",
    "Consensus",
    "FeatureVisualization",
    "Fourier",
    "MagnitudeConstrained",
    "Parametrization",
    "Pixel",
    "Readout",
    "Transformations",
    "Unit",
    "Visualizations",
    "Visualizer",
    "check_unit",
    "executed",
    "layer_activations",
    "magnitude_spectrum",
]
