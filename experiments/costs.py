"""Count the FLOPs of a function in its jaxpr: the convolutions and matrix products that its outputs need, each once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.extend import core

_CALLS = ("jaxpr", "call_jaxpr")


def count_flops(function: Callable[..., Any], *arguments: Any, border: bool = True) -> int:
    """Count the FLOPs of the convolutions and matrix products of `function(*arguments)`; arguments may be abstract.

    What a compiler drops is not counted: results that no output needs, and a second copy of the same operation on the same
    operands, such as the forward pass that a penalty shares with the logits. Of the branches of a condition the dearest counts.
    Not for loops: a scan counts as one of its steps, a while loop not at all.
    border: count the products with the zeros beyond a border, as PyTorch does; XLA's cost analysis leaves them out.
    """
    closed = jax.make_jaxpr(function)(*arguments)
    graph = _Graph(border)
    inputs = [graph.node(("input", number)) for number in range(len(closed.jaxpr.invars))]
    return graph.cost_of(graph.outputs_of(closed, inputs))


class _Graph:
    """The operations of a jaxpr with its calls written out; equal operations on equal operands are one node."""

    def __init__(self, border: bool):
        self.border = border
        self.nodes: dict[Any, int] = {}
        self.operands: list[tuple[int, ...]] = []
        self.flops: list[int] = []

    def node(self, key: Any, operands: Sequence[int] = (), flops: int = 0) -> int:
        """Return the node of this key, made where it is new."""
        if key not in self.nodes:
            self.nodes[key] = len(self.flops)
            self.operands.append(tuple(operands))
            self.flops.append(flops)
        return self.nodes[key]

    def cost_of(self, outputs: Sequence[int]) -> int:
        """Return the FLOPs of all that the outputs need."""
        needed, pending = set(), list(outputs)
        while pending:
            node = pending.pop()
            if node not in needed:
                needed.add(node)
                pending += self.operands[node]
        return sum(self.flops[node] for node in needed)

    def outputs_of(self, closed: core.ClosedJaxpr, inputs: Sequence[int]) -> list[int]:
        """Add the operations of a jaxpr, and return the nodes of its outputs."""
        known: dict[Any, int] = dict(zip(closed.jaxpr.invars, inputs, strict=True))
        known |= {
            var: self.node(("const", id(const))) for var, const in zip(closed.jaxpr.constvars, closed.consts, strict=True)
        }

        def read(atom: Any) -> int:
            return self.node(("literal", str(atom.val), str(atom.aval))) if isinstance(atom, core.Literal) else known[atom]

        for equation in closed.jaxpr.eqns:
            known |= zip(equation.outvars, self._results(equation, [read(atom) for atom in equation.invars]), strict=True)
        return [read(atom) for atom in closed.jaxpr.outvars]

    def _results(self, equation: Any, operands: list[int]) -> list[int]:
        if equation.primitive.name == "cond":
            candidates = [self.outputs_of(branch, operands[1:]) for branch in equation.params["branches"]]
            return max(candidates, key=self.cost_of)
        for name in _CALLS:
            if name in equation.params:
                inner = equation.params[name]
                return self.outputs_of(inner if isinstance(inner, core.ClosedJaxpr) else core.ClosedJaxpr(inner, ()), operands)
        flops = 0
        if equation.primitive.name == "dot_general":
            flops = _dot_flops(equation)
        elif equation.primitive.name == "conv_general_dilated":
            flops = _conv_flops(equation, border=self.border)
        key = (equation.primitive.name, _text(equation.params), tuple(operands), str(equation.outvars[0].aval))
        whole = self.node(key, operands, flops)
        return (
            [whole] if len(equation.outvars) == 1 else [self.node((whole, i), (whole,)) for i in range(len(equation.outvars))]
        )


def _text(params: Mapping[str, Any]) -> str:
    return str(sorted((name, str(value)) for name, value in params.items()))


def _dot_flops(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    flops = 2 * equation.outvars[0].aval.size
    for axis in contracted:
        flops *= left[axis]
    return int(flops)


def _conv_flops(equation: Any, *, border: bool) -> int:
    params, (images, kernel), (out,) = equation.params, equation.invars, equation.outvars
    numbers = params["dimension_numbers"]
    outputs, inputs = kernel.aval.shape[numbers.rhs_spec[0]], kernel.aval.shape[numbers.rhs_spec[1]]
    flops = 2 * out.aval.shape[numbers.out_spec[0]] * outputs * inputs
    for axis in range(len(params["window_strides"])):
        sizes = (
            images.aval.shape[numbers.lhs_spec[2 + axis]],
            kernel.aval.shape[numbers.rhs_spec[2 + axis]],
            out.aval.shape[numbers.out_spec[2 + axis]],
        )
        settings = (params[name][axis] for name in ("window_strides", "padding", "lhs_dilation", "rhs_dilation"))
        flops *= _pairs(*sizes, *settings, border=border)
    return int(flops)


def _pairs(
    image: int, window: int, out: int, stride: int, padding: tuple[int, int], spread: int, gap: int, *, border: bool
) -> int:
    """Count the products along one axis of a convolution whose image has spread - 1 zeros, its window gap - 1, between entries.

    Zeros between entries are never multiplied; those beyond the border are with `border`.
    """
    if border:
        return min(image, out) * window  # of a convolution and of its gradients alike
    places = (position * stride + tap * gap - padding[0] for position in range(out) for tap in range(window))
    return sum(0 <= place < image * spread and place % spread == 0 for place in places)
