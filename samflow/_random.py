"""Random numbers in a loop: a function of (key, member, step) and of nothing else.

Threefry-2x32 (Salmon et al. 2011, Parallel Random Numbers: As Easy as 1, 2, 3) enciphers a
counter, here (number of the draw, number of the member), under the key. No state is carried, so
that a member's numbers depend neither on the other members nor on how they are laid out. With 13
rounds, as here, it passes BigCrush, says that paper; with 20 it is the generator of `jax.random`.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from samflow import _checks
from samflow._kernel import apart, stored

ROUNDS = 13
_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA
MOST_DRAWS = 2**32
"""How many words a member has under one key."""


class Words(NamedTuple):
    """Random words of 64 bits in halves: entry j of each is one number, or one a member."""

    high: Any
    low: Any

    def __len__(self) -> int:
        return len(self.high)

    def split(self, count: int) -> "tuple[Words, Words]":
        """Return the first `count` words and the rest."""
        first = Words(self.high[:count], self.low[:count])
        return first, Words(self.high[count:], self.low[count:])

    def uniform(self, j: Any) -> Array:
        """Return the number of (0, 1) that word j, or slice j of words, is."""
        numbers = uniform(self.high[j], self.low[j])
        return stored(numbers) if isinstance(self.high, tuple) else numbers


def numpy_generator(key: PRNGKeyArray | None) -> np.random.Generator:
    """Return the generator of NumPy that a key stands for; None: always the same one."""
    return np.random.default_rng(0 if key is None else np.asarray(key_words(key)))


def key_words(key: PRNGKeyArray) -> Array:
    """Return a key of `jax.random` as two words of 32 bits."""
    try:
        data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    except AttributeError as error:
        raise _checks.ArgumentError(
            f"Argument `key` must be a key, such as `jax.random.key(0)`, but is {key!r}."
        ) from error
    if data.shape[-1:] != (2,) or data.ndim != 1 or data.dtype != jnp.uint32:
        raise _checks.ArgumentError(
            "Argument `key` must be a single threefry key of jax.random, two words of 32 bits, but "
            f"has shape {data.shape} and type {data.dtype}. Make one with `jax.random.key(0)`."
        )
    return data


def words(key: Array, member: Any, step: Any, count: int, *, rounds: int = ROUNDS) -> Words:
    """Return `count` words for step number `step` of `member`.

    Args:
        key: two words of 32 bits.
        member: number of the member, at least 0: a scalar gives arrays of shape (count,); an
            array, one entry a member, gives tuples of `count` arrays of its shape.
        step: number of the step from 0 on; `step · count` must stay below 2³².
        count: words a step.
        rounds: of the cipher.

    """
    member = jnp.asarray(member, jnp.uint32)
    first = jnp.asarray(step, jnp.uint32) * jnp.uint32(count)
    if member.ndim == 0:
        counters = first + jnp.arange(count, dtype=jnp.uint32)
        return Words(*threefry(key, counters, member, rounds))

    @apart
    def paired(counter: Array) -> Array:
        # One loop makes both halves where they are one number, and in 32 bits is twice as wide.
        return jax.lax.complex(
            *(_as(jnp.float32, half) for half in threefry(key, counter, member, rounds))
        )

    pairs = [paired(first + jnp.uint32(j)) for j in range(count)]
    drawn = [(_as(jnp.uint32, jnp.real(z)), _as(jnp.uint32, jnp.imag(z))) for z in pairs]
    return Words(tuple(high for high, _ in drawn), tuple(low for _, low in drawn))


def _as(dtype: Any, word: Array) -> Array:
    return jax.lax.bitcast_convert_type(word, dtype)


def threefry(key: Array, x: Array, y: Array, rounds: int = ROUNDS) -> tuple[Array, Array]:
    """Return the cipher of the counter (x, y), each of 32 bits, under the two words of `key`."""
    keys = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(_PARITY))
    x, y = x + keys[0], y + keys[1]
    for i in range(rounds):
        x = x + y
        turn = _ROTATIONS[i % 8]
        y = ((y << turn) | (y >> (32 - turn))) ^ x
        if i % 4 == 3:
            passed = i // 4 + 1
            x = x + keys[passed % 3]
            y = y + keys[(passed + 1) % 3] + jnp.uint32(passed)
    return x, y


def uniform(high: Array, low: Array) -> Array:
    """Return a number of (0, 1), neither end included, for each word: 52 bits, or 23 in single."""
    dtype = jnp.zeros(()).dtype
    if dtype == jnp.float64:
        # The middle of one of 2⁵² cells: exact in 53 bits, and never 0 or 1.
        upper, lower = ((half >> 6).astype(jnp.int32).astype(dtype) for half in (high, low))
        return (upper * 2.0**26 + lower + 0.5) * 2.0**-52
    return ((high >> 9).astype(dtype) + 0.5) * jnp.asarray(2.0**-23, dtype)


def normals(drawn: Words) -> Any:
    """Return a standard normal number for each word, two by two after Box and Muller.

    The number of words must be even. In double precision |x| is at most √(106 log 2) = 8.57, past
    which a normal number lies once in 1e17.
    """
    if isinstance(drawn.high, tuple):
        uniforms = [uniform(*halves) for halves in zip(drawn.high, drawn.low, strict=True)]
        pairs = zip(uniforms[::2], uniforms[1::2], strict=True)
        return tuple(number for pair in pairs for number in _box_muller(*pair, apart))
    radii, angles = drawn.uniform(slice(0, None, 2)), drawn.uniform(slice(1, None, 2))
    return jnp.stack(_box_muller(radii, angles, lambda part: part), axis=-1).reshape(-1)


def _box_muller(u: Array, v: Array, part: Callable[[Any], Any]) -> tuple[Array, Array]:
    """Return √(−2 log u) (cos 2πv, sin 2πv); what both share is computed by a `part`."""
    if u.dtype != jnp.float64:  # which XLA's own functions are fast in
        radius, angle = jnp.sqrt(-2 * jnp.log(u)), 2 * jnp.pi * v
        return radius * jnp.cos(angle), radius * jnp.sin(angle)
    return part(_joined)(v, *part(_polar)(u, v))


def _polar(u: Array, v: Array) -> tuple[Array, ...]:
    """Return √(−2 log u), and cos and sin of the rest of 2πv up to the nearest quarter turn."""
    _, rest = _quarters(v)
    square = rest * rest
    sine = rest * _horner(_SIN_TERMS, square)
    return jnp.sqrt(-2 * _log(u)), _horner(_COS_TERMS, square), sine


def _joined(v: Array, radius: Array, cosine: Array, sine: Array) -> tuple[Array, Array]:
    """Return radius (cos 2πv, sin 2πv) from cos and sin of the rest."""
    quarter, _ = _quarters(v)
    odd = (quarter == 1) | (quarter == 3)
    x, y = jnp.where(odd, sine, cosine), jnp.where(odd, cosine, sine)
    return (
        radius * jnp.where((quarter == 1) | (quarter == 2), -x, x),
        radius * jnp.where((quarter == 2) | (quarter == 3), -y, y),
    )


def _quarters(v: Array) -> tuple[Array, Array]:
    """Return the nearest number of quarter turns to v turns, and the rest."""
    quarter = jnp.floor(4 * v + 0.5)
    return quarter, 4 * v - quarter


# XLA calls a scalar function for each double's log, cos and sin, and a loop with a call in it is
# not compiled into SIMD code. These series are, and are good to a few units in the last place.
_LOG_TERMS = tuple(2 / (2 * k + 1) for k in range(11))
_COS_TERMS = tuple((-1) ** k * (math.pi / 2) ** (2 * k) / math.factorial(2 * k) for k in range(9))
_SIN_TERMS = tuple(
    (-1) ** k * (math.pi / 2) ** (2 * k + 1) / math.factorial(2 * k + 1) for k in range(8)
)
_HALF_BITS = 0x3FE6A09E667F3BCD
"""The bits of √½."""


def _log(x: Array) -> Array:
    """Return log x of positive normal doubles: x = 2ⁿ m with √½ ≤ m < √2, and a series in m."""
    bits = jax.lax.bitcast_convert_type(x, jnp.int64)
    shifted = bits - _HALF_BITS
    n = (shifted >> 52).astype(jnp.int32).astype(x.dtype)
    m = jax.lax.bitcast_convert_type((shifted & ((1 << 52) - 1)) + _HALF_BITS, x.dtype)
    s = (m - 1) / (m + 1)
    return n * math.log(2) + s * _horner(_LOG_TERMS, s * s)


def _horner(terms: tuple[float, ...], x: Array) -> Array:
    """Return Σ termsₖ xᵏ."""
    total = jnp.full_like(x, terms[-1])
    for term in reversed(terms[:-1]):
        total = total * x + term
    return total


def below(high: Array, bound: int | Array) -> Array:
    """Return a whole number of 0 .. bound − 1 for each half word, uniform but for bound / 2³².

    The upper half of the product of 64 bits, which single precision has no type for.
    """
    bound = jnp.asarray(bound, jnp.uint32)
    a, b, c, d = high >> 16, high & 0xFFFF, bound >> 16, bound & 0xFFFF
    middle = (b * d >> 16) + (b * c & 0xFFFF) + a * d
    return (a * c + (b * c >> 16) + (middle >> 16)).astype(jnp.int32)
