"""Charts of a critical point over rho and lr."""

from samflow.attractors.charts._chart import stability_chart
from samflow.attractors.charts.records import Chart

__all__ = ["Chart", "stability_chart"]
