"""Films: a frame for each system or stretch of an orbit, written whole or refused."""

import stat
import sys

import numpy as np
import pytest
from PIL import Image

import samflow as sf
from samflow import plots
from samflow._checks import ArgumentError
from samflow.plots import _animate
from samflow.plots.contents import gather, make_look
from samflow.plots.style import new_figure

BOX = ((-1.5, 1.5), (-1.5, 1.5))
LOOK = {"layers": ["fixed points"], "size": (2.0, 2.0), "dots_per_inch": 50.0}
FAKE = """#!{python}
import sys
frames = len(sys.stdin.buffer.read())
if {fails}:
    sys.exit("no such codec")
open(sys.argv[-1], "wb").write(b"film of %d bytes" % frames)
"""


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """Put a program called ffmpeg on the PATH that counts the bytes of all frames."""

    def make(*, fails=False):
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "ffmpeg"
        program.write_text(FAKE.format(python=sys.executable, fails=fails))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(folder))

    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    return make


def systems(rhos=(0.8, 1.2)):
    return [sf.Flow(sf.losses.quartic(), sf.USAM(rho=rho)) for rho in rhos]


def test_the_saddle_becomes_an_attractor_as_rho_passes_the_threshold(tmp_path, ffmpeg):
    seen = []
    path = plots.animate(
        systems(), BOX, tmp_path / "quartic", progress=lambda *done: seen.append(done), **LOOK
    )
    assert path == tmp_path / "quartic.gif"  # there is no ffmpeg
    assert seen == [(1, 2), (2, 2)]
    with Image.open(path) as film:
        assert film.n_frames == 2
        assert film.size == (100, 100)
        assert film.info["duration"] == 60  # in hundredths of a second: 1/15
    figure = new_figure()
    look = make_look(["fixed points"], 0, None, basins=False, manifolds=False)
    given = {"starts": None, "length": None, "fixed_points": None}
    shown = [gather(s, BOX, **given, basins=False, manifolds=False) for s in systems()]
    film = _animate._changing(figure, shown, look, None)
    kinds = []
    next(film)
    for _ in film:
        (ax,) = [ax for ax in figure.axes if ax.get_visible()]
        kinds.append({line.get_gid() for line in ax.lines if [0, 0] in line.get_xydata().tolist()})
    assert kinds == [{"fixed points saddle"}, {"fixed points attracting"}]


def test_orbits_run_along_their_record():
    system = sf.Map(sf.losses.quartic(), sf.GD(), lr=0.1)
    record = sf.iterate(system, [[1.0, 0.5], [-1.0, -0.5]], num_steps=8, keep_every=1)
    look = make_look(["fixed points"], 0, None, basins=False, manifolds=False)
    given = {"starts": None, "length": None, "fixed_points": None}
    shown = gather(system, BOX, **given, basins=False, manifolds=False)
    figure = new_figure()
    numbers = _animate._frames(record, 5)
    assert numbers.tolist() == [0, 2, 4, 6, 8]
    film = _animate._running(figure, shown, look, record, numbers, None)
    next(film)
    (ax,) = figure.axes
    tails = [line for line in ax.lines if line.get_gid() == "orbit"]
    heads = [line for line in ax.lines if line.get_gid() == "head"]
    for number, _ in zip(numbers, film, strict=True):
        for tail, head, path in zip(tails, heads, np.asarray(record.w), strict=True):
            assert np.array_equal(tail.get_xydata(), path[: number + 1])
            assert np.array_equal(head.get_xydata(), path[number : number + 1])
        assert ax.get_title().endswith(f"step {number}")


def test_the_same_film_has_the_same_bytes_and_mp4_gets_every_frame(tmp_path, ffmpeg):
    system = sf.Map(sf.losses.quartic(), sf.GD(), lr=0.1)
    given = {"starts": [1.0, 0.5], "length": 8, "frames": 3, **LOOK}
    first, second = (
        plots.animate(system, BOX, tmp_path / name, **given) for name in ("a.gif", "b.gif")
    )
    assert first.read_bytes() == second.read_bytes()
    ffmpeg()
    path = plots.animate(system, BOX, tmp_path / "film", **given)
    assert path == tmp_path / "film.mp4"
    assert path.read_bytes() == b"film of %d bytes" % (3 * 100 * 100 * 4)


def test_without_ffmpeg_mp4_is_refused_before_any_work(tmp_path, ffmpeg):
    with pytest.raises(ArgumentError, match=r"no ffmpeg is on the PATH\. Install ffmpeg, or write"):
        plots.animate([], BOX, tmp_path / "film.mp4")
    with pytest.raises(ArgumentError, match=r"must end in \.mp4 or \.gif"):
        plots.animate([], BOX, tmp_path / "film.avi")
    assert list(tmp_path.iterdir()) == []


def test_a_film_that_fails_leaves_the_old_file(tmp_path, ffmpeg):
    ffmpeg(fails=True)
    path = tmp_path / "film.mp4"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match=r"ffmpeg could not write the film: .*no such codec"):
        plots.animate(systems(), BOX, path, **LOOK)
    assert path.read_bytes() == b"old"

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plots.animate(systems(), BOX, tmp_path / "film.gif", progress=interrupt, **LOOK)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bin", "film.mp4"]


@pytest.mark.parametrize(
    ("system", "settings", "match"),
    [
        ([], {}, "empty list"),
        (systems()[0], {}, "`starts` or `orbits`, one of them"),
        (systems(), {"titles": ["a"]}, "each of 2 frames, but has 1"),
        (systems()[0], {"starts": [1.0, 1.0], "frames": 0}, "`frames` must be a whole number"),
        (systems(), {"per_second": 0.0}, "`per_second` must be finite and greater than 0"),
        (systems()[0], {"orbits": 3}, "`orbits` must be a Orbit"),
    ],
)
def test_what_cannot_move_is_refused(tmp_path, system, settings, match):
    with pytest.raises(ArgumentError, match=match):
        plots.animate(system, BOX, tmp_path / "film.gif", **{**LOOK, **settings})
    assert list(tmp_path.iterdir()) == []


def test_orbits_of_several_systems_and_orbits_without_points_are_refused(tmp_path):
    system = sf.Map(sf.losses.quartic(), sf.GD(), lr=0.1)
    record = sf.iterate(system, [1.0, 0.5], num_steps=8)
    with pytest.raises(ArgumentError, match="`orbits` is for one system"):
        plots.animate([system], BOX, tmp_path / "a.gif", orbits=record)
    assert _animate._frames(record, 5).tolist() == [0, 1]  # both ends
