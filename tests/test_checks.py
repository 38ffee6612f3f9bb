"""What is no number is refused at the door, and what a message quotes is short."""

import datetime
import decimal
import fractions

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import sympy

import samflow as sf
from samflow import _checks
from samflow._checks import ArgumentError
from samflow.losses.models import examples

MASKED = np.ma.masked_array([1.0, 2.0], [False, True])
NO_NUMBERS = {
    "an integer that no double holds": [10**400, 0],
    "an integer that Python does not print": [10**5000, 0],
    "ragged": [[1, 2], [3]],
    "masked": MASKED,
    "masked in a list": [MASKED[0], MASKED[1]],
    "booleans": [True, False],
    "a boolean beside a number": [True, 2.0],
    "a boolean of NumPy": np.array([True, False]),
    "digits": ["1", "2"],
    "digits of bytes": [b"1", b"2"],
    "digits in an array of objects": np.array(["1", 2.0], dtype=object),
    "dates": np.array(["2020-01-01", "2021-01-01"], "M8[D]"),
    "dates of Python": [datetime.date(2020, 1, 1)] * 2,
    "durations": np.array([1, 2], "m8[s]"),
    "complex": [1j, 0],
    "nothing": [None, 1.0],
    "objects": [object(), 1],
    "a mapping": {1: 2},
    "a megabyte": ["x" * 10**6, "y"],
}
NUMBERS = {
    "integers": [1, 2],
    "half precision": np.array([1, 2], np.float16),
    "bfloat16": jnp.array([1, 2], jnp.bfloat16),
    "bfloat16 of NumPy": np.array([1, 2], ml_dtypes.bfloat16),
    "fractions": [fractions.Fraction(1), decimal.Decimal(2)],
    "exact numbers": [sympy.Integer(1), sympy.Rational(2)],
    "nothing masked": np.ma.masked_array([1.0, 2.0]),
}


@pytest.fixture(scope="module")
def system():
    return sf.Map(sf.losses.beale(), sf.USAM(rho=0.05), lr=0.01)


@pytest.mark.filterwarnings("ignore:Warning. converting a masked element")
@pytest.mark.parametrize("value", NO_NUMBERS.values(), ids=NO_NUMBERS.keys())
def test_a_start_that_is_no_numbers_is_refused(system, value):
    with pytest.raises(ArgumentError, match="`w0` must be numbers of shape") as error:
        sf.iterate(system, value, num_steps=3)
    assert len(str(error.value)) < 500
    assert str(error.value).isprintable()


@pytest.mark.parametrize("value", NUMBERS.values(), ids=NUMBERS.keys())
def test_numbers_of_every_other_kind_are_taken(value):
    assert _checks.point("w0", value, 2).tolist() == [1.0, 2.0]


def test_a_tensor_that_requires_a_gradient_is_refused_with_the_remedy(system):
    torch = pytest.importorskip("torch")
    start = torch.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(ArgumentError, match=r"`w0` must be numbers .*detach"):
        sf.iterate(system, start, num_steps=3)
    assert _checks.point("w0", start.detach(), 2).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "value",
    [
        *(None, 2**2000, 10**5000, True, np.True_, "0.1", b"1", np.datetime64("2020-01-01"), 1j),
        *(np.array([0.1]), np.ma.masked, "a" * 10**6),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_step_size_that_is_no_number_is_refused(value):
    for make in (lambda v: sf.Map(sf.losses.beale(), sf.GD(), lr=v), lambda v: sf.USAM(rho=v)):
        with pytest.raises(ArgumentError, match=r"`(lr|rho)` must be a number, but is") as error:
            make(value)
        assert len(str(error.value)) < 300


def test_counts_end_where_doubles_stop_counting(system):
    assert _checks.count("num_steps", 2**53) == 2**53
    with pytest.raises(ArgumentError, match="whole number"):
        _checks.count("num_steps", np.timedelta64(5, "s"))
    for value in (2**53 + 1, 2**63, 10**5000):
        with pytest.raises(ArgumentError, match="`num_steps` must be a whole number of at most"):
            sf.iterate(system, [1.0, 1.0], num_steps=value)


def test_boxes_and_names_are_checked_alike(system):
    for box in ([["1", "2"], [3, 4]], [[True, 2], [3, 4]], [[0, 10**400], [3, 4]]):
        with pytest.raises(
            ArgumentError, match=r"`box` must be 2 pairs .*or one pair for all weights, but is"
        ):
            sf.find_fixed_points(system, box=box)
    for name in (3, "x" * 10**6):
        with pytest.raises(ArgumentError, match="Unknown rule") as error:
            sf.rule(name)
        assert len(str(error.value)) < 1_000


def test_a_message_is_cut_in_its_middle_and_keeps_its_remedy():
    error = str(ArgumentError("Argument `a` is " + "x" * 10**6 + ". Do this."))
    assert error.startswith("Argument `a` is")
    assert error.endswith(". Do this.")
    assert len(error) < 4_000
    assert str(ArgumentError("short. Do this.")) == "short. Do this."
    assert "\\x1b[31m" in str(ArgumentError("\x1b[31m"))


@pytest.mark.parametrize(
    "x",
    [
        np.ma.masked_array([[1.0], [2.0]], [[False], [True]]),
        np.array([["1"], [2.0]], dtype=object),
        [[10**400], [0]],
        [[1.0], [2.0, 3.0]],
        np.array([["2020-01-01"], ["2021-01-01"]], "M8[D]"),
    ],
    ids=["masked", "digits", "an integer that no double holds", "ragged", "dates"],
)
def test_examples_that_are_no_numbers_are_refused(x):
    with pytest.raises(ArgumentError, match="`x` must be real numbers"):
        examples("x", x)
    assert examples("x", [[True], [False]]).tolist() == [[1.0], [0.0]]  # features that are or not


def test_masked_examples_are_refused_for_torch():
    torch = pytest.importorskip("torch")
    from samflow.losses.pytorch.data import examples as held

    masked = np.ma.masked_array([[1.0], [2.0]], [[False], [True]])
    for x, y in ((masked, np.zeros(2)), (np.zeros((2, 1)), masked)):
        with pytest.raises(ArgumentError, match="some entries are masked"):
            held(torch, x, y, torch.float64, torch.device("cpu"))


def test_a_traced_number_is_refused_where_a_float_is_needed():
    """`positive` returns a float; `positive_array` takes what jit traces, and checks it then."""
    assert isinstance(_checks.positive("tol", np.float32(0.5)), float)
    with pytest.raises(ArgumentError, match="`tol` must be a concrete number, but is traced"):
        jax.jit(lambda tol: _checks.positive("tol", tol))(0.5)
    assert jax.jit(lambda lr: _checks.positive_array("lr", lr))(0.5) == 0.5


def test_a_status_prints_as_its_word():
    status = sf.Status(7)
    assert f"{status}" == str(status) == "residual too large"
    assert status == 7
    assert np.asarray([status]).dtype.kind == "i"
