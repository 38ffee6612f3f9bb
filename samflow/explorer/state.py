"""What the explorer shows, as plain data: checked, and restored by a link."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from samflow import _checks, losses, rules
from samflow._types import Box
from samflow.losses.base import AbstractLoss
from samflow.systems import Flow, Map

LAYERS = ("levels", "motion", "nullclines", "directions", "basins", "manifolds")
"""What a portrait may show besides orbits and fixed points."""
MOST_STARTS = 16
"""Orbits at once: all are computed in one block, which compiles once."""
LENGTHS = (1_000, 10_000, 100_000)
"""How many steps orbits of a map may have."""
TIMES = (0.1, 1, 10, 100, 1_000)
"""How long solutions of a flow may be."""
TICKS = min(LENGTHS)
"""Parts of a solution that can be drawn one by one."""
LONGEST_QUERY = 8_000
"""Characters of a link's query."""
_HALF_WIDTH = 3.0
_LARGEST = 1e9
"""Of a coordinate and of a hyperparameter: the page's numbers are drawn, and not only computed."""

Starts = tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class State:
    """All that the page shows follows from this.

    Attributes:
        loss: a name of the zoo or a formula, of two weights.
        rule: the name of a rule, or its formula.
        rho: the rule's radius, at least 0.
        lr: step size, greater than 0.
        momentum: heavy ball, in [0, 1).
        flow: whether the rule's flow is shown and not its map; it has neither lr nor momentum.
        box: what the portrait shows; by default the loss's domain, or [-3, 3] × [-3, 3].
        starts: of orbits.
        length: steps of an orbit, one of `LENGTHS`; of a flow its time, one of `TIMES`.
        steps: how many of them are drawn; -1 for all. Of a flow how many of `TICKS` equal parts.
        layers: which of `LAYERS` are drawn.
        point: the critical point that the chart is of; by default a saddle of the loss, if any.
        rho_max: upper end of the slider of rho and of the chart; None: chosen for the loss.
        lr_max: the same of lr.

    Raises:
        ArgumentError: for a loss, rule or number that the command line would refuse too, a loss
            without two weights, starts outside its domain, and more starts than `MOST_STARTS`.

    """

    loss: str = "beale"
    rule: str = "usam"
    rho: float = 0.05
    lr: float = 0.01
    momentum: float = 0.0
    flow: bool = False
    box: Box = ()
    starts: Starts = ()
    length: float | None = None
    steps: int = -1
    layers: tuple[str, ...] = ("levels", "motion", "nullclines", "directions")
    point: tuple[float, float] | None = None
    rho_max: float | None = None
    lr_max: float | None = None

    def __post_init__(self) -> None:
        made = make_loss(self.loss)
        _set(self, "rule", rules.known_rule(self.rule))
        _checks.nonnegative("rho", self.rho, "It is the radius of the ascent step.")
        _checks.positive("lr", self.lr, "It is the step size.")
        _checks.fraction("momentum", self.momentum, "Give 0 for none.")
        _set(self, "box", _checked_box(self.box or default_box(made)))
        if len(self.starts) > MOST_STARTS:
            raise _checks.ArgumentError(
                f"Argument `starts` must be at most {MOST_STARTS} points, but has "
                f"{len(self.starts)}. Clear some orbits first."
            )
        _set(self, "starts", tuple(_point("starts", w, made) for w in self.starts))
        lengths = TIMES if self.flow else LENGTHS
        length = (10 if self.flow else TICKS) if self.length is None else self.length
        if length not in lengths:
            raise _checks.ArgumentError(
                f"Argument `length` must be one of {', '.join(map(str, lengths))}, but is "
                f"{_checks.excerpt(length)}."
            )
        _set(self, "length", lengths[lengths.index(length)])
        if not -1 <= self.steps <= self.ticks:
            raise _checks.ArgumentError(
                f"Argument `steps` must be from 0 to {self.ticks}, or -1 for all, but is "
                f"{self.steps}."
            )
        for name in self.layers:
            _checks.known("layer", name, LAYERS)
        _set(self, "layers", tuple(name for name in LAYERS if name in self.layers))
        if self.point is not None:
            _set(self, "point", _point("point", self.point, None))
        for name in ("rho", "lr", "rho_max", "lr_max"):
            value = getattr(self, name)
            if value is None:
                continue
            if name.endswith("max"):
                _checks.positive(name, value)
            if value > _LARGEST:
                raise _checks.ArgumentError(
                    f"Argument `{name}` must be at most {_LARGEST:g}, but is {value:g}."
                )

        if self.flow:
            self.system()  # which refuses rules with a memory

    @property
    def ticks(self) -> int:
        """How many steps, or parts of the time, can be drawn."""
        return TICKS if self.flow or self.length is None else int(self.length)

    @property
    def has_rho(self) -> bool:
        """Whether the rule has a rho."""
        return hasattr(rules.rule(self.rule), "rho")

    @property
    def has_chart(self) -> bool:
        """Whether there is a chart of rho and lr."""
        return self.has_rho and not self.flow

    def system(self) -> Map | Flow:
        """Return the system; its hyperparameters are arrays, so that one program serves all."""
        if self.flow:
            return _flow(self.loss, self.rule, self.rho)
        return _map(self.loss, self.rule, self.rho, self.lr, self.momentum)

    def changed(self, **fields: Any) -> "State":
        """Return the state with other values, checked."""
        if fields.get("loss", self.loss) != self.loss:
            others: dict[str, Any] = {"box": (), "starts": (), "point": None}
            fields = {**others, "rho_max": None, "lr_max": None, **fields}
        elif fields.get("rule", self.rule) != self.rule:
            fields = {"rho_max": None, "lr_max": None, **fields}
        if fields.get("flow", self.flow) != self.flow:
            fields = {"length": None, "steps": -1, **fields}
        return dataclasses.replace(self, **fields)

    def query(self) -> str:
        """Return the query of a link that restores this state, without what is by default."""
        plain = State(loss=self.loss)
        written: dict[str, Any] = {"loss": self.loss}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name != "loss" and value != getattr(plain, field.name):
                written[field.name] = _WRITE.get(field.name, str)(value)
        return urlencode(written)


def from_query(query: str) -> State:
    """Return the state that a link's query spells; what it lacks is by default.

    Raises:
        ArgumentError: for unknown names, names that come twice, and values that `State` refuses.

    """
    if len(query) > LONGEST_QUERY:
        raise _checks.ArgumentError(
            f"A link must have a query of at most {LONGEST_QUERY} characters, but has {len(query)}."
        )
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, strict_parsing=bool(query), errors="strict"
        )
    except ValueError as error:
        raise _checks.ArgumentError(f"The query of the link cannot be read: {error}.") from error
    return from_pairs(pairs)


def from_pairs(pairs: Sequence[tuple[str, str]]) -> State:
    """Return the state of names and texts; see `from_query`."""
    names = [name for name, _ in pairs]
    known = [field.name for field in dataclasses.fields(State)]
    for name in names:
        _checks.known("part of the link", name, known)
        if names.count(name) > 1:
            raise _checks.ArgumentError(f"The link must have `{name}` once, but has it twice.")
    return State(**{name: _READ.get(name, _number)(name, text) for name, text in pairs})


@functools.lru_cache(maxsize=64)
def make_loss(source: str) -> AbstractLoss:
    """Return the loss of a name or a formula; one with two weights.

    Raises:
        ArgumentError: as `samflow.loss` does, and for another number of weights.

    """
    made = losses.loss(source)
    if made.dim != 2:
        raise _checks.ArgumentError(
            f"Argument `loss` must have two weights to be drawn, but {_checks.excerpt(source)} has "
            f"{made.dim}. Write a formula of two variables, such as x**2/2 - y**2/2 + y**4/4."
        )
    return made


@functools.lru_cache(maxsize=16)
def _map(loss: str, rule: str, rho: float, lr: float, momentum: float) -> Map:
    return Map(make_loss(loss), rules.rule(rule, rho=rho), lr=lr, momentum=momentum)


@functools.lru_cache(maxsize=16)
def _flow(loss: str, rule: str, rho: float) -> Flow:
    return Flow(make_loss(loss), rules.rule(rule, rho=rho))


def default_box(loss: AbstractLoss) -> Box:
    """Return the domain of a loss, or [-3, 3] × [-3, 3]."""
    return ((-_HALF_WIDTH, _HALF_WIDTH),) * 2 if loss.domain is None else loss.domain


def names_of_weights(state: State) -> tuple[str, str]:
    """Return what the two weights are called."""
    symbols = getattr(state.system().loss, "symbols", None)
    if symbols is None:
        return "w₁", "w₂"
    first, second = map(str, symbols)
    return first, second


def number(name: str, text: str) -> float:
    """Return the number that a text spells, a decimal or a formula without variables, as 4/111.

    Raises:
        ArgumentError: for anything else.

    """
    try:
        return _number(name, text)
    except _checks.ArgumentError:
        made = losses.parse(text)
        if made.free_symbols:
            raise
        return float(made)


def _checked_box(box: Any) -> Box:
    checked = _checks.box("box", box, 2)
    for low, high in checked:
        width = high - low
        if max(abs(low), abs(high)) > _LARGEST or width < 1e-9 * max(abs(low), abs(high), 1e-300):
            raise _checks.ArgumentError(
                f"Argument `box` must lie within ±{_LARGEST:g} and be wider than rounding, but has "
                f"({low:g}, {high:g})."
            )
    return checked


def _point(name: str, w: Any, loss: AbstractLoss | None) -> tuple[float, float]:
    checked = _checks.point(name, w, 2)
    _checks.inside(name, checked, None if loss is None else loss.domain)
    x, y = checked.tolist()
    return x, y


def _set(state: State, name: str, value: Any) -> None:
    object.__setattr__(state, name, value)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise _checks.ArgumentError(
            f"Argument `{name}` must be a number, but is {_checks.excerpt(text)}."
        ) from error


def _read_flow(name: str, text: str) -> bool:
    if text not in ("0", "1"):
        raise _checks.ArgumentError(
            f"Argument `{name}` must be 1 for a flow or 0 for a map, but is "
            f"{_checks.excerpt(text)}."
        )
    return text == "1"


def _whole(name: str, text: str) -> int:
    value = _number(name, text)
    if value != round(value, 0) or abs(value) > _LARGEST:
        raise _checks.ArgumentError(
            f"Argument `{name}` must be a whole number, but is {_checks.excerpt(text)}."
        )
    return int(value)


def _numbers(name: str, text: str, count: int) -> list[float]:
    parts = text.split(",")
    if len(parts) != count:
        raise _checks.ArgumentError(
            f"Argument `{name}` must be {count} numbers with commas between them, but is "
            f"{_checks.excerpt(text)}."
        )
    return [_number(name, part) for part in parts]


def _read_box(name: str, text: str) -> Any:
    left, right, bottom, top = _numbers(name, text, 4)
    return (left, right), (bottom, top)


def _read_starts(name: str, text: str) -> Any:
    return tuple(tuple(_numbers(name, part, 2)) for part in text.split(";")) if text else ()


_READ: Mapping[str, Any] = {
    "loss": lambda name, text: text,
    "rule": lambda name, text: text,
    "box": _read_box,
    "starts": _read_starts,
    "flow": _read_flow,
    "steps": _whole,
    "layers": lambda name, text: tuple(text.split(",")) if text else (),
    "point": lambda name, text: tuple(_numbers(name, text, 2)),
}
_WRITE: Mapping[str, Any] = {
    "flow": lambda flow: str(int(flow)),
    "box": lambda box: ",".join(repr(end) for side in box for end in side),
    "starts": lambda starts: ";".join(f"{x!r},{y!r}" for x, y in starts),
    "layers": ",".join,
    "point": lambda w: f"{w[0]!r},{w[1]!r}",
}
