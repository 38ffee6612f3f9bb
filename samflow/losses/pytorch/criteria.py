"""What a module's outputs are worth: criteria by name, those of PyTorch, and functions."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from samflow import _checks
from samflow._checks import ArgumentError
from samflow.losses.criteria import BY_TARGETS, CRITERIA, check_booleans, criterion_of, described
from samflow.losses.models import check_logits
from samflow.losses.pytorch.data import Examples, shapes

_IGNORED = -100
"""The class that PyTorch leaves out unless told otherwise."""

_MOVE = "Return classes on axis 1: forward=lambda module, x: module(x).movedim(-1, 1)."


class Criterion(NamedTuple):
    """ℓ of outputs f (n, K, ...) and targets y, as torch.nn.functional has it, or a function.

    A cross-entropy is the mean over examples and positions, weighted by the class of each where
    there are class weights, and without the targets that are ignored.

    Attributes:
        formula: "squared", "cross_entropy", "nll" (of log-probabilities) or "function".
        name: what `options` call it.
        function: of the user's; None for the others.
        weight: of the classes, a tensor; None for 1 each.
        ignore_index: the class that is left out.
        smoothing: label smoothing of a criterion of PyTorch; that of "cross_entropy" by name is in
            the loss's options.
        strict: whether it is a criterion of PyTorch, so that classes are on axis 1.
        normalised: whether the mean is over the weights of the targets that count; else over all.
        class_axis: which axis of the outputs has the classes.
        rows: whether targets have the shape of the outputs.

    """

    formula: str
    name: str
    function: Callable[[Any, Any], Any] | None = None
    weight: Any = None
    ignore_index: int = _IGNORED
    smoothing: float = 0.0
    strict: bool = False
    normalised: bool = True
    class_axis: int = 1
    rows: bool = False

    @property
    def has_classes(self) -> bool:
        """Whether it compares with classes."""
        return self.formula in ("cross_entropy", "nll")

    def aligned(self, f: Any, y: Any) -> tuple[Any, Any]:
        """Return outputs and targets with the classes on axis 1."""
        if self.class_axis == 1:
            return f, y
        return f.movedim(-1, 1), y.movedim(-1, 1) if self.rows else y

    def total(self, torch: Any, f: Any, y: Any, smoothing: float) -> Any:
        """Return the sum over examples and positions, weighted, of named criteria."""
        functional, (f, y) = torch.nn.functional, self.aligned(f, y)
        if self.formula == "squared":
            goal = y if self.rows else functional.one_hot(y.long(), f.shape[1]).movedim(-1, 1)
            return 0.5 * ((f - goal.to(f.dtype)) ** 2).sum()
        settings: dict[str, Any] = {"reduction": "sum", "ignore_index": self.ignore_index}
        if self.weight is not None:
            settings["weight"] = self.weight.to(dtype=f.dtype, device=f.device)
        if self.formula == "nll":
            return functional.nll_loss(f, y.long(), **settings)
        goal = y.to(f.dtype) if self.rows else y.long()
        return functional.cross_entropy(
            f, goal, label_smoothing=smoothing or self.smoothing, **settings
        )

    def mass(self, y: Any) -> Any:
        """Return what the mean divides by for each example, shape (n,), of named criteria."""
        if self.formula == "squared":
            return y.new_ones(len(y)).double()
        if self.rows:
            axes = [size for axis, size in enumerate(y.shape) if axis not in (0, self._axis(y))]
            return y.new_ones(len(y)).double() * math.prod(axes)
        if not self.normalised:
            return y.new_ones(len(y)).double() * math.prod(y.shape[1:])
        y = y.long()
        counted = (y != self.ignore_index).double()
        if self.weight is not None:
            known = y.clamp(0, len(self.weight) - 1)
            counted = counted * self.weight.to(device=y.device).double()[known]
        return counted.reshape(len(y), -1).sum(dim=1)

    def _axis(self, y: Any) -> int:
        return self.class_axis % y.ndim

    def wrong(self, f: Any, y: Any) -> tuple[float, float]:
        """Return how many of the targets that count the largest output misses, and how many count.

        Raises:
            ArgumentError: for targets that are no classes.

        """
        if getattr(y, "shape", None) == f.shape:
            miss = f.argmax(dim=self.class_axis) != y.argmax(dim=self.class_axis)
            return float(miss.sum()), float(miss.numel())
        labels = (len(f), *f.shape[1:-1]) if self.class_axis == -1 else (len(f), *f.shape[2:])
        if f.ndim < 2 or getattr(y, "shape", None) != labels:
            raise ArgumentError(
                "To count errors, targets must be classes, or rows in the shape of the outputs, "
                f"{tuple(f.shape)}, but are {shapes(y)}."
            )
        ignored = (y.long() == self.ignore_index) & self.has_classes
        miss, counts = (f.argmax(dim=self.class_axis) != y) & ~ignored, ~ignored
        return float(miss.sum()), float(counts.sum())

    def describe_batches(self, sizes: tuple[int, ...]) -> str:
        """Return one line about a loss of whole batches of so many examples."""
        count, alike = len(sizes), len(set(sizes)) == 1
        each = f"{sizes[0]} examples" if alike else f"{min(sizes)} to {max(sizes)} examples"
        if count == 1:
            return f"Loss: {self.name}, a function of the whole batch of {each}."
        over = "" if alike else ", by their sizes"
        mean = f"mean over {count} batches of {each}{over}"
        return f"Loss: {self.name}, a function of a batch, {mean}."

    def describe(self, shape: tuple[int, ...], examples: int, left_out: tuple[int, int]) -> str:
        """Return one line about what was taken.

        Args:
            shape: of an example's outputs.
            examples: how many.
            left_out: how many targets are ignored, and of how many.

        """
        if self.formula == "function":
            return f"Loss: {self.name}, a function of outputs and targets, mean over {examples}."
        axis = "the last axis" if self.class_axis == -1 else "axis 1"
        rest = math.prod(shape[:-1] if self.class_axis == -1 else shape[1:])
        formula = "cross_entropy" if self.has_classes else "squared"
        text = described(formula, not self.rows, examples, axis=axis, positions=rest)
        if self.formula == "nll":
            text = text.replace("cross-entropy", "negative log-likelihood")
        notes = [f"classes weighted by {_shown(self.weight)}"] if self.weight is not None else []
        notes += [f"labels smoothed by {self.smoothing:g}"] if self.smoothing else []
        if left_out[0]:
            how = "left out" if self.normalised else "counted as 0"
            notes += [f"{left_out[0]} of {left_out[1]} targets are {self.ignore_index} and {how}"]
        return text if not notes else f"{text.rstrip('.')}; {'; '.join(notes)}."


def _shown(weight: Any) -> str:
    return np.array2string(weight.detach().cpu().numpy(), precision=4, threshold=6)


def criterion(torch: Any, loss: Any) -> Criterion:
    """Return what `loss` asks for, before outputs and targets are known.

    Raises:
        ArgumentError: for an unknown name.

    """
    if loss is None:
        return Criterion(BY_TARGETS, BY_TARGETS)
    if not callable(loss):
        known = _checks.known("loss", loss, CRITERIA)
        return Criterion(known, known)
    name = getattr(loss, "__name__", type(loss).__name__)
    name = f"{name} (a function)" if name in CRITERIA else name
    return _of_pytorch(torch, loss, name) or Criterion(
        "function", name, function=loss, class_axis=-1
    )


def _of_pytorch(torch: Any, loss: Any, name: str) -> Criterion | None:
    """Return a criterion of PyTorch with its settings; None of any other, and of a sum."""
    nn, functional, settings = torch.nn, torch.nn.functional, {}
    formulas = {nn.CrossEntropyLoss: "cross_entropy", nn.NLLLoss: "nll"}
    functions = {functional.cross_entropy: "cross_entropy", functional.nll_loss: "nll"}
    formula = formulas.get(type(loss))
    if formula is not None:
        settings = {n: getattr(loss, n) for n in ("weight", "ignore_index", "reduction")}
        settings["label_smoothing"] = getattr(loss, "label_smoothing", 0.0)
    else:
        whole = isinstance(loss, functools.partial) and not loss.args
        settings = dict(loss.keywords) if whole else {}
        formula = functions.get(loss.func if whole else loss)
        name = f"{loss.func.__name__} (a function)" if whole and formula else name
    known = {"weight", "ignore_index", "reduction", "label_smoothing"}
    if formula is None or settings.keys() - known or settings.get("reduction", "mean") == "sum":
        return None
    return Criterion(
        formula,
        name,
        weight=settings.get("weight"),
        ignore_index=settings.get("ignore_index", _IGNORED),
        smoothing=settings.get("label_smoothing", 0.0),
        strict=True,
        normalised=settings.get("reduction", "mean") == "mean",
    )


def settled(made: Criterion, held: Examples, f: Any, at_once: int | None) -> Criterion:
    """Return the criterion with the axis of the classes, once a few outputs are known.

    Raises:
        ArgumentError: for targets that fit neither as rows nor as classes, or in two ways; for
            classes that are no output.

    """
    torch, n = held.torch, len(held)
    y = held.part(slice(0, 1))[1]
    shape = (n, *y.shape[1:]) if torch.is_tensor(y) else None
    whole = shape is not None and not y.is_floating_point()
    outputs = (n, *f.shape[1:])
    boolean = shape is not None and y.dtype is torch.bool
    check_booleans(boolean, shape == outputs, named=made.formula != BY_TARGETS)
    if made.formula == BY_TARGETS:
        formula = criterion_of(BY_TARGETS, whole, shape == outputs and f.ndim > 1)
        made = made._replace(formula=formula, name=formula)
    if made.has_classes and f.ndim < 2:
        raise ArgumentError(
            "Argument `model` must return one number per class for cross_entropy, but returns "
            f"outputs of shape {outputs}."
        )
    if shape == outputs and made.formula != "nll":
        axis = _axis_of_rows(made, held, f) if made.has_classes else 1
        made = made._replace(class_axis=axis, rows=True)
    else:
        has = "is no array" if shape is None else f"has shape {shape} and type {y.dtype}"
        made = made._replace(class_axis=_axis_of_classes(made, shape, outputs, whole, has))
    classes = f.shape[made.class_axis] if f.ndim > 1 else 1
    if made.has_classes:
        check_logits((*outputs[:1], classes))
        if made.weight is not None and tuple(made.weight.shape) != (classes,):
            raise ArgumentError(
                f"Argument `loss` must have one weight per class, {classes}, but has weights of "
                f"shape {tuple(made.weight.shape)}."
            )
    if not made.rows:
        _check_range(made, held, classes, at_once)
    return made


def _axis_of_classes(
    made: Criterion,
    shape: tuple[int, ...] | None,
    outputs: tuple[int, ...],
    whole: bool,
    has: str,
) -> int:
    """Return which axis of the outputs has the classes: 1 as PyTorch, or the last."""
    second, last = outputs[:1] + outputs[2:], outputs[:-1]
    fits = [axis for axis, want in ((1, second), (-1, last)) if shape == want]
    if not whole or len(outputs) < 2 or not fits:
        either = f"{second}" if second == last else f"{second} or {last}"
        raise ArgumentError(
            f"Argument `y` must have the shape of the module's outputs, {outputs}, but {has}. Or "
            f"give classes, whole numbers of shape {either}."
        )
    if made.strict and 1 not in fits:
        raise ArgumentError(
            f"Argument `loss` is PyTorch's, whose classes are on axis 1 of the outputs {outputs}: "
            f"targets must have shape {second}, but have shape {shape}. {_MOVE}"
        )
    if len(fits) == 2 and len(outputs) == 3 and not made.strict:
        raise ArgumentError(
            f"Argument `loss` must say which axis of the outputs {outputs} has the classes: "
            f"targets of shape {shape} fit axis 1 and the last. Give "
            f"loss=torch.nn.CrossEntropyLoss() for axis 1. {_MOVE.replace('Return', 'Or move the')}"
        )
    return fits[0]


def _axis_of_rows(made: Criterion, held: Examples, f: Any) -> int:
    """Return along which axis targets in the shape of the outputs are probabilities."""
    if f.ndim == 2 or made.strict:
        return 1
    y = held.part(slice(0, min(len(held), 8)))[1].to(held.dtype)
    one = lambda axis: held.torch.allclose(y.sum(dim=axis), y.new_ones(()), atol=1e-4)  # noqa: E731
    fits = [axis for axis in (1, -1) if one(axis)]
    if len(fits) == 1:
        return fits[0]
    raise ArgumentError(
        f"Argument `loss` must say which axis of the outputs {tuple(f.shape)} has the classes: "
        f"targets sum to 1 along {'axis 1 and the last' if fits else 'neither axis 1 nor -1'}. "
        "Give loss=torch.nn.CrossEntropyLoss() for axis 1, as in PyTorch."
    )


def _check_range(made: Criterion, held: Examples, classes: int, at_once: int | None) -> None:
    """Refuse classes that are no output, apart from the one that is ignored."""
    wrong, total, first = 0, 0, None
    for span in held.spans(at_once):
        part = held.part(span)[1].long()
        outside = (part < 0) | (part >= classes)
        if made.has_classes:
            outside = outside & (part != made.ignore_index)
        outside = part[outside]
        wrong, total = wrong + outside.numel(), total + part.numel()
        first = int(outside[0]) if first is None and outside.numel() else first
    if wrong:
        raise ArgumentError(
            f"Argument `y` must hold classes 0 to {classes - 1}, but {wrong} of {total} are not; "
            f"the first is {first}."
        )


def masses(
    made: Criterion, held: Examples, at_once: int | None
) -> tuple[np.ndarray | None, tuple[int, int]]:
    """Return what each example counts in the mean, None for all alike, and how many are ignored."""
    if made.formula in ("function", "squared") or made.rows:
        return None, (0, 0)
    found, ignored, total = [], 0, 0
    for span in held.spans(at_once):
        y = held.part(span)[1].long()
        found.append(made.mass(y).cpu().numpy())
        ignored, total = ignored + int((y == made.ignore_index).sum()), total + y.numel()
    mass = np.concatenate(found)
    if not (mass > 0).any():
        raise ArgumentError(
            f"Argument `y` must hold targets that count, but all {total} are {made.ignore_index}, "
            "which is ignored, or of a class with weight 0."
        )
    return None if (mass == mass[0]).all() else mass, (ignored, total)
