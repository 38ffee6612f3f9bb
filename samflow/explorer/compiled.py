"""Which losses and rules are compiled, for all pages; compilation in a thread of its own."""

from concurrent.futures import Future, ThreadPoolExecutor

from samflow.explorer import quick
from samflow.explorer.state import State

_ready: set[tuple[str, str, bool]] = set()
_thread = ThreadPoolExecutor(1, thread_name_prefix="samflow-compile")


def program(state: State) -> tuple[str, str, bool]:
    """Return what the compiled programs of a state depend on: loss, rule, whether with momentum."""
    return state.loss, state.rule, state.momentum > 0


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
