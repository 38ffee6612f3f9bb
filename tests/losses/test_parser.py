"""The parser takes formulas and nothing else."""

import time

import pytest
import sympy

import samflow as sf
from samflow._checks import ArgumentError
from samflow.losses import parse

x, y = sympy.symbols("x y", real=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x**2 - y**2", x**2 - y**2),
        ("0.1*x", x / 10),  # decimals are exact fractions
        ("2.625e-3*x", sympy.Rational(21, 8000) * x),
        ("-x + +y", y - x),
        ("sqrt(x**2 + 1)", sympy.sqrt(x**2 + 1)),
        ("cos(2*pi*x)*exp(-y)", sympy.cos(2 * sympy.pi * x) * sympy.exp(-y)),
        ("x**-0.5", 1 / sympy.sqrt(x)),
        ("x\n + y", x + y),
        ("x/(2*x + 2)", x / (2 * x + 2)),  # divisors, roots and logarithms that stay
        ("1/(3*x*y**2)", 1 / (3 * x * y**2)),
        ("sqrt(4*x + 4) + log(2*y)", sympy.sqrt(4 * x + 4) + sympy.log(2 * y)),
        ("1/(x - y) + 1/(y - x)**2", 1 / (x - y) + 1 / (y - x) ** 2),
        ("exp(-x)/exp(y)", sympy.exp(-x - y)),
    ],
)
def test_formulas_are_read_exactly(text, expected):
    assert sympy.simplify(parse(text) - expected) == 0


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("__import__('os').system('ls')", "attribute access"),
        ("__import__('os')", "no such function"),
        ("x.__class__", "attribute access"),
        ("x + os.system", "column 5"),
        ("x[0]", "indexing"),
        ("lambda: x", "lambda"),
        ("[x for x in y]", "comprehension"),
        ("x if y else 1", "conditional"),
        ("x < y", "comparison"),
        ("x and y", "and/or"),
        ("'x'", "only decimal numbers"),
        ("f'{x}'", "string"),
        ("x^2", "write **"),
        ("x // y", "only + - * / **"),
        ("foo(x)", "known: acos"),
        ("exp(x, y)", "takes one argument"),
        ("exp", "needs its argument"),
        ("x +", "syntax"),
        ("e**x", "write exp(1)"),
        ("1/0", "division by zero"),
        ("x + True", "only decimal numbers"),
        ("x + 1j", "only decimal numbers"),
        ("(-1)**0.5*x", "not a finite real number"),
        ("_x", "a letter, then"),
        ("nan*x", "only finite numbers"),
        ("x + Inf", "only finite numbers"),
        ("acos(2)*x", "not a real number"),
        ("exp(1000)*x", "not a real number"),
        ("sqrt((x - 1)**2)", "no derivative everywhere"),
        ("x**3/x", "not defined everywhere"),
        ("sqrt(x)**4 + x", "not defined everywhere"),
        ("exp(log(x))*y", "not defined everywhere"),
        ("x*(1/x)*y", "not defined everywhere"),
        ("", "non-empty"),
    ],
)
def test_anything_else_is_refused_with_its_place(text, place):
    with pytest.raises(ArgumentError, match=r".") as caught:
        parse(text)
    assert place in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9**9",
        "x*9**99999999",
        "(" * 500_000 + "x" + ")" * 500_000,
        "(" * 150 + "x" + ")" * 150 + "." * 1000,
        "-" * 9_000 + "x",
        "+".join(["x"] * 4_000),
        "((((9**99)**99)**99)**99)*x",
        "((x**90)**90)**90",
        "1e999999999*x",
        "1e-999999999*x",
        "9" * 9_000 + "*x",
        "sin(" * 400 + "x" + ")" * 400 + ".",
    ],
)
def test_hostile_input_ends_within_a_second(text):
    began = time.perf_counter()
    with pytest.raises(ArgumentError):
        parse(text)
    assert time.perf_counter() - began < 1.0  # a bound on behaviour, not a measurement of speed


def test_powers_at_the_limit():
    assert parse("x**100") == x**100
    with pytest.raises(ArgumentError, match="at most 100"):
        parse("x**101")


def test_unknown_name_gets_the_nearest():
    with pytest.raises(ArgumentError, match="Did you mean beale"):
        sf.loss("baele")


def test_variables_and_dim():
    assert [s.name for s in sf.loss("x10 + x2 + x1").symbols] == ["x1", "x2", "x10"]
    assert sf.loss("x**2", variables=("x", "y")).dim == 2
    with pytest.raises(ArgumentError, match="must list each of"):
        sf.loss("x*y", variables=("x",))
    with pytest.raises(ArgumentError, match="must be 2"):
        sf.loss("x*y", dim=3)
    with pytest.raises(ArgumentError, match="no variable"):
        sf.loss("1 + 2")
    with pytest.raises(ArgumentError, match="`dim` must be given"):
        sf.loss(lambda w: w @ w)
    with pytest.raises(ArgumentError, match="empty or unbounded"):
        sf.loss("x*y", domain=((1, 0), (0, 1)))


@pytest.mark.parametrize(
    ("text", "word"), [("lambda*x**2", "lambda"), ("x + in**2", "in"), ("is", "is")]
)
def test_words_that_python_reserves_are_named(text, word):
    with pytest.raises(ArgumentError, match=f"{word} is a reserved word of Python; rename it, as"):
        parse(text)
    assert parse(text.replace(word, f"{word}_")).free_symbols
    with pytest.raises(ArgumentError, match="invalid syntax"):
        parse("x**2 +")
