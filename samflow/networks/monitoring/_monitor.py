"""The monitor itself: rows every k steps, warm vectors between them, files while it runs."""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from samflow import _checks
from samflow._random import key_words
from samflow._schedule import at
from samflow._status import Status
from samflow._types import NumpyArray, Point
from samflow.losses.base import AbstractLoss
from samflow.losses.evaluation import error_share, value
from samflow.networks.monitoring.measurement import (
    Row,
    alignment,
    batch_sharpness,
    cosine,
    direction,
    formed,
    scaled,
    second_difference,
)
from samflow.networks.monitoring.records import TrainingRecord, record_of
from samflow.networks.monitoring.search import Pairs, Search, Tracking
from samflow.orbits import CentralFlow
from samflow.rules import AbstractRule, Ascent
from samflow.spectra.directions import log_growth, measured_along
from samflow.spectra.products import value_gradient_product
from samflow.systems import AdaptiveMap, Map
from samflow.systems.edges import Update, edge_of_stability, update_of

_WRITTEN_EVERY = 5.0
"""Seconds between two times that the file is written."""
_FLOW = ("mean_loss", "predicted_loss", "oscillation", "predicted_oscillation", "distance")
_ARRAYS = ("eigenvalues", "eigenvalue_residuals", "eigenvalue_status")
_PRECONDITIONED = ("preconditioned", "preconditioned_residuals", "preconditioned_status")


class Monitor:
    """Looks at a training every k steps, and keeps a row of what it saw; for `train`.

    Up to 200 weights the Hessian is formed, by a product for each weight. Beyond, its leading
    eigenvalues are found from the eigenvectors of the row before and from a direction outside of
    these, by Davidson's method, in at most `max_products` Hessian-vector products. That direction
    goes on from row to row, so that eigenvalues beyond those that are known show in it. Each row
    records how many products it took. A row is made at the first state, at each that is due, and
    where the map has changed.

    Attributes:
        every: steps between two rows.

    """

    def __init__(
        self,
        *,
        every: int = 50,
        num_eigenvalues: int = 1,
        batch_size: int | None = None,
        num_batches: int = 8,
        compare: Sequence[AbstractRule] = (),
        test: AbstractLoss | None = None,
        central: CentralFlow | None = None,
        motion: bool = False,
        tol: float = 0.02,
        max_products: int = 9,
        save_to: str | os.PathLike[str] | None = None,
        key: PRNGKeyArray | None = None,
    ) -> None:
        """Prepare a monitor; nothing is computed yet.

        Args:
            every: steps between two rows.
            num_eigenvalues: how many leading eigenvalues; each costs one to two products.
            batch_size: of the mini-batches of `batch_sharpness`; None leaves it out.
            num_batches: how many are drawn for a row, at least 2.
            compare: rules whose edges at the same lr and momentum are recorded beside.
            test: the loss on held-out data, for its value and its error.
            central: a central flow from the first weights that the monitor sees, kept at the steps
                of the rows (`keep_every`); rows then say how far the run is from it.
            motion: whether the motion along v₁ is recorded at each step, and the growth that is
                predicted for it, for P1 and P4 of a late switch.
            tol: largest residual of a located eigenvalue, as a part of the largest |λ|. The error
                of a value is about residual²/gap.
            max_products: of a row but the first, which has no vectors to start from; at least
                `num_eigenvalues` + 2.
            save_to: a .nc file for the record, written about every 5 seconds and at the end.
            key: of the first start vector and of batches; None: key(0).

        Raises:
            ArgumentError: for numbers out of range, and a file that cannot be written.

        """
        _checks.double_precision("A monitor")
        self.every = _checks.count("every", every)
        count = _checks.count("num_eigenvalues", num_eigenvalues)
        most = _checks.count("max_products", max_products, minimum=count + 2)
        search = Search(count, _checks.positive("tol", tol), most)
        if batch_size is not None:
            batch_size = _checks.count("batch_size", batch_size)
        self._batches = (batch_size, _checks.count("num_batches", num_batches, minimum=2))
        self._compare = tuple(compare)
        for rule in self._compare:
            _checks.instance("compare", rule, AbstractRule, "Use instances, such as `sf.GD()`.")
        if test is not None:
            _checks.instance("test", test, AbstractLoss)
        if central is not None:
            _checks.instance("central", central, CentralFlow, "Use `sf.central_flow`.")
        _checks.instance("motion", motion, bool)
        self._test, self._central, self._motion = test, central, motion
        self._key = jr.key(0) if key is None else key
        key_words(self._key)
        self._tracking = Tracking(search, self._key)
        self._path = None if save_to is None else _checks.writable("save_to", save_to, (".nc",))
        self._written = time.monotonic()
        self.reset()

    def reset(self) -> None:
        """Forget all rows and vectors."""
        self._rows: list[Row] = []
        self._moved: list[tuple[int, float]] = []
        self._tracking.forget()
        self._recent: dict[int, Any] = {}
        self._first: NumpyArray | None = None
        self._seen: Map | AdaptiveMap | None = None
        self._system, self._changed = "", False
        self._origin = -1

    def forget_vectors(self) -> None:
        """Forget the vectors of the last row, as where other weights are trained; keep the rows."""
        self._tracking.forget()
        self._first, self._recent = None, {}

    @property
    def record(self) -> TrainingRecord:
        """All rows so far."""
        return record_of(
            self._rows, self._moved, self._tracking.search.count, self._names(), self.settings()
        )

    def settings(self) -> dict[str, str]:
        """Return what tells one monitor from another, in words."""
        size, number = self._batches
        return {
            "every": str(self.every),
            "num_eigenvalues": str(self._tracking.search.count),
            "tol": repr(self._tracking.search.tol),
            "max_products": str(self._tracking.search.max_products),
            "batch_size": str(size),
            "num_batches": str(number),
            "compare": ", ".join(self._names()),
            "test": "None" if self._test is None else self._test.name,
            "central": str(self._central is not None),
            "motion": str(self._motion),
            "key": str(key_words(self._key).tolist()),
        }

    def see(self, system: Map | AdaptiveMap, z: Point, *, step: int, epoch: int = -1) -> bool:
        """Look at a state of a map, whose schedules are taken at `step`; say whether it made a row.

        `train` calls this with the first state and after each step.
        """
        if system is not self._seen:
            self._seen, told = system, system.describe()
            self._changed = told != self._system
            self._system, self._recent = told, {} if self._changed else self._recent
        changed, told = self._changed, self._system
        self._changed = False
        self._forget_after(step)
        if not (self._motion or self._central or changed or self.near(step)):
            return False
        w = system.position(z)
        self._follow(system.loss, w, step)
        if not (changed or step % self.every == 0) or self._has(step, told):
            return False
        here = at(system, step, AbstractLoss) if system.schedules else system
        self.look(here.loss, w, update_of(here, z), step=step, epoch=epoch, system=here, z=z)
        self._rows[-1]["of"] = told
        return True

    def near(self, step: int) -> bool:
        """Whether a step is one of a row, or of the two before, whose weights `turn` needs."""
        return -step % self.every <= 2

    def note(self, w: Any, step: int) -> None:
        """Note the weights of a step, shape (dim,), for the `turn` of the next row."""
        self._recent = {k: each for k, each in self._recent.items() if k >= step - 2} | {step: w}

    def look(
        self,
        loss: AbstractLoss,
        w: Point,
        update: Update,
        *,
        step: int,
        epoch: int = -1,
        system: Map | AdaptiveMap | None = None,
        z: Point | None = None,
    ) -> Row:
        """Make a row at the weights `w` of whatever states its `update`, due or not.

        It has a `turn` if the weights of this step and of the two before were noted by `note`.

        Args:
            loss: the loss, on all of its data.
            w: weights, shape (dim,).
            update: the optimiser's name, lr, edge and preconditioner.
            step: steps made so far.
            epoch: whole epochs made so far; −1: unknown.
            system: the map that moves the weights, for its rule's direction; None: none known.
            z: its state.

        """
        if self._origin < 0:
            self._origin = step
        height, slope, product = value_gradient_product(loss, w)
        g = np.asarray(slope, dtype=float)
        size, norm = float(np.linalg.norm(np.asarray(w))), float(np.linalg.norm(g))
        matrix = formed(product, loss.dim)
        if matrix is not None:
            product = matrix.dot
        place = {"step": step, "row": len(self._rows)}
        pairs = self._tracking.pairs("hessian", product, matrix, g, **place)
        self._first = pairs.first
        row: Row = {
            "steps": step,
            "epochs": epoch,
            "update": update.name,
            "of": update.name,
            "lr": update.lr,
            "loss": float(height),
            "gradient_norm": norm,
            **_named(_ARRAYS, pairs),
            "num_products": pairs.num_products,
            **self._scaled(product, matrix, update, g, step),
            "edge": update.edge(norm),
            "edges": np.array([_edge(system, update, r, norm) for r in self._compare], dtype=float),
            **alignment(g, pairs, size),
            "direction_cosine": np.nan,
            "batch_sharpness": np.nan,
            "batch_sharpness_error": np.nan,
            "test_loss": np.nan if self._test is None else float(value(self._test, w)),
            "test_error": np.nan if self._test is None else error_share(self._test, w),
            **dict.fromkeys(_FLOW, np.nan),
            **dict.fromkeys(("effective_curvature", "effective_residual", "growth"), np.nan),
            "turn": self._turn(step),
        }
        if system is not None and z is not None and np.isfinite(row["cosine"]):
            plain = system.rule.ascent is Ascent.none
            d = g if plain else np.asarray(direction(system, z))
            row["direction_cosine"] = cosine(d, pairs.first)
        if self._motion and isinstance(system, Map) and not system.rule.num_memories:
            along = measured_along(system, w, pairs.first[None])
            row["effective_curvature"] = float(along.curvature[0])
            row["effective_residual"] = float(along.residual[0])
            row["growth"] = float(log_growth(system, along.curvature)[0])
        batch_size, num_batches = self._batches
        if batch_size is not None:
            drawn = {"batch_size": batch_size, "num_batches": num_batches}
            found = batch_sharpness(loss, w, **drawn, key=self._key, step=step)
            row["batch_sharpness"], row["batch_sharpness_error"] = found
        self._rows.append(row)
        if self._path is not None and time.monotonic() - self._written > _WRITTEN_EVERY:
            self.write()
        return row

    def write(self) -> None:
        """Write the record to `save_to`, whole or not at all; nothing without such a file."""
        if self._path is not None:
            self.record.save(self._path)
            self._written = time.monotonic()

    def arrays(self) -> dict[str, NumpyArray]:
        """Return arrays of all that later rows depend on, to be saved beside a state.

        With `restore` a training that stopped goes on with the same rows, bit for bit.
        """
        names = list(self._rows[0]) if self._rows else []
        rows = {f"row.{name}": np.array([row[name] for row in self._rows]) for name in names}
        return {
            **rows,
            **self._tracking.arrays(),
            "settings": np.array([f"{name}={told}" for name, told in self.settings().items()]),
            "moved": np.array(self._moved, dtype=float).reshape(-1, 2),
            "recent_at": np.array(list(self._recent), dtype=int),
            "recent": np.array([np.asarray(w) for w in self._recent.values()]),
            "first": np.zeros(0) if self._first is None else self._first,
            "system": np.array(self._system),
            "origin": np.array(self._origin),
        }

    def restore(self, arrays: Mapping[str, NumpyArray]) -> None:
        """Take up what `arrays` returned.

        Raises:
            ArgumentError: for arrays of a monitor with other settings, and for others.

        """
        own = [f"{name}={told}" for name, told in self.settings().items()]
        found = [str(each) for each in np.asarray(arrays.get("settings", np.zeros(0))).reshape(-1)]
        if found != own:
            differ = sorted(set(found) ^ set(own)) if found else ["there are none"]
            raise _checks.ArgumentError(
                "Argument `monitor` must have the settings of the one whose rows were saved, but "
                f"these differ: {'; '.join(differ)}."
            )
        self.reset()
        names = [name.removeprefix("row.") for name in arrays if name.startswith("row.")]
        count = len(arrays["row.steps"]) if names else 0
        self._rows = [
            {name: _plain(arrays[f"row.{name}"][i]) for name in names} for i in range(count)
        ]
        self._tracking.restore(arrays)
        self._moved = [(int(k), float(moved)) for k, moved in arrays["moved"]]
        recent = zip(arrays["recent_at"].tolist(), arrays["recent"], strict=True)
        self._recent = {k: jnp.asarray(w) for k, w in recent}
        self._first = np.asarray(arrays["first"]) if arrays["first"].size else None
        self._system, self._origin = str(arrays["system"]), int(arrays["origin"])

    def _forget_after(self, step: int) -> None:
        """Drop rows beyond a step to which the training went back, and vectors with them."""
        if self._rows and self._rows[-1]["steps"] > step:
            self._rows = [row for row in self._rows if row["steps"] < step]
            self._moved = [each for each in self._moved if each[0] < step]
            self.forget_vectors()

    def _names(self) -> tuple[str, ...]:
        return tuple(rule.name for rule in self._compare)

    def _has(self, step: int, told: str) -> bool:
        return bool(self._rows) and (self._rows[-1]["steps"], self._rows[-1]["of"]) == (step, told)

    def _scaled(
        self, product: Any, matrix: NumpyArray | None, update: Update, slope: NumpyArray, step: int
    ) -> Row:
        if update.preconditioner is None:
            nothing = np.full(self._tracking.search.count, np.nan)
            undefined = np.full(self._tracking.search.count, Status.undefined)
            row = dict(zip(_PRECONDITIONED, (nothing, nothing, undefined), strict=True))
            return {**row, "preconditioned_products": 0}
        product = scaled(product, update.preconditioner, update.decay)
        if matrix is not None:
            matrix = np.stack([product(unit) for unit in np.eye(len(slope))])
        slope = slope / np.sqrt(update.preconditioner)
        place = {"step": step, "row": len(self._rows)}
        pairs = self._tracking.pairs("preconditioned", product, matrix, slope, **place)
        return {**_named(_PRECONDITIONED, pairs), "preconditioned_products": pairs.num_products}

    def _follow(self, loss: AbstractLoss, w: Point, step: int) -> None:
        """Note the weights of a step; complete what needs those of the step after."""
        self.note(w, step)
        if len(self._recent) < 3:
            return
        earlier, before = self._recent[step - 2], self._recent[step - 1]
        if self._motion and self._first is not None:
            v = jnp.asarray(self._first)
            self._moved.append((step, float(second_difference(v, w, before, earlier))))
        if self._central and self._rows and self._rows[-1]["steps"] == step - 1:
            self._rows[-1] |= self._compared(loss, earlier, before, w, step - 1 - self._origin)

    def _turn(self, step: int) -> float:
        """Return the last step along v₁ over the one before; NaN where they are not known."""
        kept = [self._recent.get(k) for k in (step - 2, step - 1, step)]
        if self._first is None or any(w is None or len(w) != len(self._first) for w in kept):
            return np.nan
        earlier, before, now = (float(np.asarray(w) @ self._first) for w in kept)
        last, first = now - before, before - earlier
        noise = np.finfo(float).eps * max(abs(now), abs(before), abs(earlier))
        return last / first if abs(first) > noise else np.nan

    def _compared(self, loss: AbstractLoss, before: Any, w: Any, after: Any, step: int) -> Row:
        """Compare a step with the central flow; NaN at one that the flow does not keep."""
        assert self._central is not None
        flow, mean = self._central, (before + 2 * w + after) / 4
        place = np.flatnonzero(np.asarray(flow.steps) == step)
        values = [float(value(loss, each)) for each in (before, w, after)]
        row: Row = {
            "mean_loss": (values[0] + 2 * values[1] + values[2]) / 4,
            "oscillation": float(jnp.linalg.norm(before - 2 * w + after)) / 4,
        }
        if not len(place):
            return row
        i = int(place[0])
        return row | {
            "predicted_loss": float(flow.mean_loss[i]),
            "predicted_oscillation": float(np.sqrt(np.trace(np.asarray(flow.variance[i])))),
            "distance": float(jnp.linalg.norm(mean - flow.w[i])),
        }


def _plain(entry: Any) -> Any:
    return entry if np.ndim(entry) else np.asarray(entry).item()


def _named(names: Sequence[str], pairs: Pairs) -> Row:
    return dict(zip(names, (pairs.values, pairs.residuals, pairs.status), strict=True))


def _edge(system: Any, update: Update, rule: AbstractRule, norm: float) -> float:
    if not isinstance(system, Map) or update.preconditioner is not None:
        return np.nan  # another curvature than H's is compared with the edge
    return edge_of_stability(eqx.tree_at(lambda s: s.rule, system, rule), norm)
