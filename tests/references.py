"""Reference values, each once, with its source."""

from fractions import Fraction

BEALE_SADDLE = (0.0, 1.0)
BEALE_THRESHOLD = Fraction(4, 111)  # arXiv 2301.06308 applied to H = [[0, 111/4], [111/4, 0]]
BEALE_EIGENVALUES = {  # derived from a Gröbner basis
    (0.0, 1.0): (-27.75, 27.75),
    (3.0, 0.5): (0.301464, 48.97979),
    (0.100538, -2.644514): (-0.781027, 867.752),
}
QUARTIC_AT_RHO_6 = (0.0, 0.211325, 0.788675, 0.912871, 1.0)  # |y| of the fixed points on x = 0
VALLEY_EDGE = 3.791529  # (√(1 + 8 rho/lr) − 1)/(2 rho) at lr = .3, rho = .2
HENON = {  # a = 1.4, b = .3: x and multipliers of the fixed points
    0.6313545: (-1.923739, 0.155946),
    -1.1313545: (3.259822, -0.0920296),
}
# Exponents and Kaplan–Yorke dimensions from Sprott 2003, "Chaos and Time-Series Analysis".
LYAPUNOV_MAPS = {
    "henon": (0.41922, -1.62319, 1.25827),  # a = 1.4, b = .3
    "lozi": (0.47023, -1.16338, 1.40419),  # a = 1.7, b = .5
}
LYAPUNOV_LORENZ = (
    0.9056,
    0.0,
    -14.5723,
    2.06215,
)  # the same; three exponents, sum −41/3, dimension
LYAPUNOV_STANDARD = 1.6198  # K = 10: ln(K/2) + 1/(K² − 4), Tomsovic, Lakshminarayan 2007
LYAPUNOV_CAT = 0.9624236501192069  # ln((3 + √5)/2), the larger eigenvalue of [[2, 1], [1, 1]]
# dx = (x − x³) dt + √(2D) dB, D = .05: mean first passage from −1 to 1, and Kramers' formula.
DOUBLE_WELL_PASSAGE = 729.67
DOUBLE_WELL_KRAMERS = 659.38
# Periods of x″ − mu(1 − x²)x′ + x = 0: Zonneveld 1966; that at mu = 1 to all digits.
VAN_DER_POL = {1.0: 6.6632868593231, 5.0: 11.6122306678, 10.0: 19.0783695669}
LORENZ_CYCLE = 1.5586522107162  # r = 28, the shortest, Viswanath 2003
DUFFING_SHARES = (0.488, 0.512)  # omega = 1, f = .2, d = .15, beta = −1: of [−2, 2]²

# Of the logistic map: Feigenbaum 1978; the flips are in Strogatz 1994, section 10.2.
FEIGENBAUM_FLIPS = (3.0, 3.449490, 3.544090, 3.564407, 3.568759, 3.569692)
FEIGENBAUM_LIMIT = 3.5699457  # r∞
FEIGENBAUM_DELTA = 4.6692016  # the limit of the ratio of windows
