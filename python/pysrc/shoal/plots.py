"""Pictures of the latency space. Needs `pip install 'shoal[plots]'`.

Both functions return a figure of matplotlib, which `savefig` writes to a file; no window is opened
and no global state of matplotlib is touched.
"""

# matplotlib does not say which further keywords its methods take.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from shoal._errors import MissingExtraError
from shoal._native import Coordinate, Member
from shoal._node import Node

try:
    import numpy as np
    from matplotlib.figure import Figure
except ImportError as error:
    raise MissingExtraError(__name__, "plots") from error

__all__ = ["coordinate_map", "predictions"]


def coordinate_map(node: Node) -> Figure:
    """Where the members are, in milliseconds, seen from the side on which they are widest apart.

    A disk is as large as the height: the access link, which every path pays besides the distance.
    The node itself and members that told no coordinate yet are in it once they have one.
    """
    located = _located(node)
    vectors = np.array([coordinate.vector for _, coordinate in located]).reshape(-1, 8) * 1e3
    centred = vectors - vectors.mean(axis=0) if located else vectors
    # The two directions with the largest variance.
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    flat = np.zeros((len(located), 2))
    flat[:, : len(axes)] = centred @ axes.T

    figure = Figure(layout="constrained")
    axis = figure.subplots()
    axis.set(title="Network coordinates", xlabel="ms", ylabel="ms", aspect="equal")
    for datacenter in sorted({member.datacenter for member, _ in located}):
        chosen = [at for at, (member, _) in enumerate(located) if member.datacenter == datacenter]
        sizes = [20.0 + 2e4 * located[at][1].height for at in chosen]
        axis.scatter(flat[chosen, 0], flat[chosen, 1], s=sizes, label=datacenter, alpha=0.6)
    for (member, _), (x, y) in zip(located, flat, strict=True):
        axis.annotate(member.address, (x, y), fontsize="x-small")
    if located:
        axis.legend(title="datacenter")
    return figure


def predictions(node: Node) -> Figure:
    """What the coordinates predict over what is known, for every peer with both: on the line the
    prediction is right."""
    own = node.coordinate
    pairs = [
        (member.rtt.ms, own.distance_ms(coordinate))
        for member, coordinate in _located(node)
        if member.rtt is not None and member.address != node.address
    ]
    figure = Figure(layout="constrained")
    axis = figure.subplots()
    axis.set(title=f"Round trips from {node.address}", xlabel="known, ms", ylabel="predicted, ms")
    axis.scatter([known for known, _ in pairs], [predicted for _, predicted in pairs])
    axis.axline((0.0, 0.0), slope=1.0, linestyle="dashed", color="grey")
    return figure


def _located(node: Node) -> list[tuple[Member, Coordinate]]:
    members = node.members()
    return [(one, one.coordinate) for one in members if one.coordinate is not None]
