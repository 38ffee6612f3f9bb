"""Which losses and rules are compiled, for all pages; compilation in a thread of its own."""

from concurrent.futures import Future, ThreadPoolExecutor

from samflow.explorer import quick
from samflow.explorer.state import State

Program = tuple[str, str, bool, bool]
"""Loss, rule without the numbers of a formula, whether it is a flow, whether with momentum."""

_ready: set[Program] = set()
_thread = ThreadPoolExecutor(1, thread_name_prefix="samflow-compile")


def program(state: State) -> Program:
    """Return what the compiled programs of a state depend on."""
    formula = state.rule.partition(";")[0]
    return state.loss, formula, state.flow, state.momentum > 0 and not state.flow


def is_compiled(state: State) -> bool:
    """Say whether `quick.quick` compiles nothing for a state."""
    return program(state) in _ready


def compiling(state: State) -> "Future[None]":
    """Compile the programs of a state, unless that was done.

    The future raises `ArgumentError` for a loss that cannot be differentiated exactly.
    """

    def compile_once() -> None:
        if not is_compiled(state):
            quick.warm(state)
            _ready.add(program(state))

    return _thread.submit(compile_once)
