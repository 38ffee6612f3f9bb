"""Charts of critical points over rho and lr, or any two numbers."""

from samflow.attractors.charts._chart import stability_chart
from samflow.attractors.charts.records import AttractorChart, Boundary, Chart

__all__ = ["AttractorChart", "Boundary", "Chart", "stability_chart"]
