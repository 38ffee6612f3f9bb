"""How an analysis ended: one member a cause, each with its message."""

import enum


class Status(enum.IntEnum):
    """Why a computation stopped, or why an answer is missing.

    Arrays of statuses hold the integers; `Status(code).label` and `.message` read them.
    """

    converged = 0
    out_of_steps = 1
    diverged = 2
    not_finite = 3
    undefined = 4
    reached_end = 5
    located = 6
    residual_too_large = 7
    not_differentiable = 8
    not_a_fixed_point = 9
    step_size_vanished = 10
    sliding = 11
    not_unique = 12
    no_closed_form = 13
    escaped = 14
    still_inside = 15
    reached_bound = 16
    closed = 17
    shrunk = 18
    border = 19
    unbounded = 20

    no_gradient = 21
    solver_out_of_steps = 22
    not_periodic = 23
    no_return = 24
    unbalanced = 25
    too_few_pairs = 26
    shrunk_to_rest = 27

    def __str__(self) -> str:
        """Return the label, not the integer."""
        return self.label

    def __format__(self, spec: str) -> str:
        """Format the label."""
        return format(self.label, spec)

    @property
    def label(self) -> str:
        """The name as people read it, without underscores."""
        return self.name.replace("_", " ")

    @property
    def message(self) -> str:
        """One sentence that says what happened."""
        return _MESSAGES[self]


_MESSAGES = {
    Status.converged: "The update became no larger than the tolerance.",
    Status.out_of_steps: "All steps were made without convergence or divergence.",
    Status.diverged: "The orbit left the ball of the given escape radius.",
    Status.not_finite: "A value became infinite or NaN inside the escape radius.",
    Status.undefined: "The orbit reached a point where the system is not defined.",
    Status.reached_end: "The solution was followed to the final time.",
    Status.located: "The point was located: its residual is within the tolerance.",
    Status.residual_too_large: "The solver stopped with a residual above the tolerance.",
    Status.not_differentiable: "The system has no Jacobian at this point.",
    Status.step_size_vanished: "The step size became too small: the field is singular just ahead.",
    Status.not_a_fixed_point: "The system moves this point: it is not a fixed point.",
    Status.sliding: "The solution reached a set where the field jumps in finite time, and stays "
    "there.",
    Status.not_unique: "The field jumps here, and more than one solution continues from here.",
    Status.no_closed_form: "No closed form of this rule's conditions is known here; `classify` "
    "computes numbers.",
    Status.escaped: "The path left the ball.",
    Status.still_inside: "The path was in the ball at every step made: its time is right-censored.",
    Status.reached_bound: "The branch was followed to the bound of its parameter.",
    Status.closed: "The branch came back to its first point.",
    Status.shrunk: "The cycle shrank to one of a shorter period.",
    Status.shrunk_to_rest: "The cycle shrank to a rest of the flow.",
    Status.border: "A point of the cycle met a point where the system is not smooth.",
    Status.unbounded: "The branch went further from 0 than 10,000 of its own lengths.",
    Status.no_gradient: "The gradient is 0 up to rounding: it has no direction.",
    Status.solver_out_of_steps: "The solver of a flow made all its steps before the time was over.",
    Status.not_periodic: "The field at the end of the period is not that at its beginning.",
    Status.no_return: "The orbit did not come back to the section in the time allowed.",
    Status.unbalanced: "An eigenvalue is at the edge, and no oscillation would keep it there.",
    Status.too_few_pairs: "More eigenvalues may be at the edge than are watched.",
}


class Verdict(enum.StrEnum):
    """What a proof attempt established."""

    proved = "proved"
    refuted = "refuted"
    inconclusive = "inconclusive"
    unsupported = "unsupported"


class Kind(enum.StrEnum):
    """What a fixed point, or an attractor, is for the system at hand.

    Normalised SAM has no Jacobian at a critical point. What holds it there instead is `sliding`
    for the flow, and for the map an attracting cycle about the point (`cycle`), or an invariant
    ball: a `chaotic_trap` where chaos is proved, a `trap` where it is not. `rotation` means that
    orbits turn about the point on the loss itself, on no cycle of a period that was looked for.
    `undefined` means that there is no Jacobian and that none of these is known.

    Attractors that orbits are found on are also a `cycle`, `quasiperiodic` (an invariant circle or
    torus: the largest Lyapunov exponent is 0), `chaotic` (it is positive) or a `continuum` of fixed
    points that attracts across.
    """

    attracting = "attracting"
    repelling = "repelling"
    saddle = "saddle"
    nonhyperbolic = "nonhyperbolic"
    sliding = "sliding"
    cycle = "cycle"
    rotation = "rotation"
    chaotic_trap = "chaotic trap"
    trap = "trap"
    undefined = "undefined"
    quasiperiodic = "quasiperiodic"
    chaotic = "chaotic"
    continuum = "continuum"
