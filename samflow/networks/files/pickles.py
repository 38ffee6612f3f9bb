"""Pickles looked at before they are read: a key whose hash would never end is refused.

A tuple that holds the same tuple twice, forty levels deep, takes 200 bytes of a pickle. Its hash
takes 2^40 steps, in code that nothing stops, if it is the key of a dictionary.
"""

import io
import pickletools
from typing import IO, Any

_FEW = 10**6
"""Steps that no one notices."""
_MAKERS = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "REDUCE", "NEWOBJ")
_GETS = ("GET", "BINGET", "LONG_BINGET")
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")


def check_hashes(content: bytes | IO[bytes], size: int) -> None:
    """Refuse a pickle of `size` bytes with a tuple that has more parts than that.

    Nothing is run: of every object only the number of its parts is known here.

    Raises:
        ValueError: for that, and for what is no pickle.

    """
    stack: list[int | None] = []  # parts of each object; None is a mark
    memo: dict[Any, int] = {}
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    for operation, argument, _ in pickletools.genops(file):
        name = operation.name
        if name in _PUTS:
            memo[argument] = stack[-1] or 1
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1] or 1
        elif name in _GETS:
            stack.append(memo[argument])
        elif name == "MARK":
            stack.append(None)
        else:
            taken = _taken(operation, stack)
            parts = 1 + (sum(taken) if name in _MAKERS else 0)
            if parts > size + _FEW:
                raise ValueError(
                    f"a tuple in it has {parts} parts, because it contains others many times"
                )
            stack += [parts] * len(operation.stack_after)


def _taken(operation: Any, stack: list[int | None]) -> list[int]:
    """Take from the stack what an operation takes, and return the parts of each."""
    taken = []
    for kind in reversed(operation.stack_before):
        if kind is pickletools.stackslice:
            while stack and (top := stack.pop()) is not None:
                taken.append(top)
        elif kind is not pickletools.markobject:  # the mark went with what lies on it
            if not stack:
                raise ValueError("it uses objects that it has not made")
            taken.append(stack.pop() or 0)
    return taken
