"""Figures are written whole, with their fonts, and the same every time."""

import io
import pickle
import sys
import zlib

import numpy as np
import pytest
from matplotlib.text import Text

import samflow as sf
from samflow import plots
from samflow._checks import ArgumentError


@pytest.fixture(scope="module")
def figure():
    system = sf.Flow(sf.losses.saddle(), sf.USAM(rho=0.5))
    return plots.portrait(system, ((-1, 1), (-1, 1)))


def test_a_stem_gets_a_file_a_format(figure, tmp_path):
    paths = plots.save(figure, tmp_path / "rho.0.5", formats=("pdf", "png", "svg"))
    assert [path.name for path in paths] == ["rho.0.5.pdf", "rho.0.5.png", "rho.0.5.svg"]
    heads = [path.read_bytes()[:5] for path in paths]
    assert heads == [b"%PDF-", b"\x89PNG\r", b"<?xml"]


def test_a_known_ending_decides_the_format(figure, tmp_path):
    assert plots.save(figure, tmp_path / "a.png") == [tmp_path / "a.png"]


def test_the_same_figure_gives_the_same_bytes(figure, tmp_path):
    kinds = ("pdf", "png", "svg")
    first, second = (plots.save(figure, tmp_path / name, formats=kinds) for name in "ab")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_notebook_shows_a_figure(figure):
    """As IPython asks for it: the picture, and its size on the screen, two thirds of its pixels."""
    from PIL import Image

    content, size = figure._repr_png_()
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (703, 756)  # 3.35 × 3.6 inches at 210 dots an inch
    assert size == {"width": 469, "height": 504}
    assert figure._repr_png_()[0] == content
    again = pickle.loads(pickle.dumps(figure))
    assert again._repr_png_()[0] == content


def test_fonts_are_embedded_as_outlines_and_lines_stay_vectors(figure, tmp_path):
    (path,) = plots.save(figure, tmp_path / "a.pdf")
    content = path.read_bytes()
    assert b"/Type3" not in content
    assert b"/Subtype /Type3" not in content
    assert b"/FontFile2" in content  # TrueType, type 42
    assert b"/Subtype /Image" not in content
    assert b"CreationDate" not in content
    streams = [part.split(b"\nendstream")[0] for part in content.split(b"stream\n")[1:]]
    drawing = max((_inflated(part) for part in streams), key=lambda text: text.count(b" l\n"))
    assert drawing.count(b" l\n") > 1000  # line segments, not pixels


def test_a_png_has_300_dots_an_inch_and_keeps_rare_colours(figure, tmp_path):
    from PIL import Image

    (path,) = plots.save(figure, tmp_path / "a.png")
    with Image.open(path) as image:
        assert image.size == (1005, 1080)  # 3.35 × 3.6 inches
        assert image.info["dpi"][0] == pytest.approx(300, abs=0.1)
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    assert (pixels[0] == 255).all()
    vermilion = np.array([0xD5, 0x5E, 0x00])
    assert np.abs(pixels - vermilion).sum(axis=1).min() <= 12


def test_nothing_is_written_where_the_format_or_the_folder_is_wrong(figure, tmp_path):
    with pytest.raises(ArgumentError, match="Did you mean pdf"):
        plots.save(figure, tmp_path / "a", formats=("png", "pdff"))
    with pytest.raises(ArgumentError, match="folder that exists"):
        plots.save(figure, tmp_path / "missing" / "a")
    assert list(tmp_path.iterdir()) == []


def _inflated(stream):
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""


@pytest.mark.parametrize("name", ["p.ps", "p.jpg", "p.pdff", "p.PDF"])
def test_an_ending_that_is_no_format_is_refused(figure, tmp_path, name):
    endings = r"\.pdf, \.svg, \.png, \.eps, \.pgf"
    with pytest.raises(ArgumentError, match=rf"must end in {endings} or have no ending"):
        plots.save(figure, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_eps_has_its_fonts_no_date_and_no_transparency(figure, tmp_path):
    (path,) = plots.save(figure, tmp_path / "a.eps")
    content = path.read_bytes()
    assert content.startswith(b"%!PS-Adobe-3.0 EPSF-3.0")
    assert b"/FontType 42" in content
    assert b"/FontType 3 " not in content
    assert b"CreationDate" not in content
    (again,) = plots.save(figure, tmp_path / "b.eps")
    assert again.read_bytes() == content


def test_eps_of_what_is_transparent_is_refused(tmp_path):
    makes = (
        lambda ax: ax.plot([0, 1], [0, 1], alpha=0.5),
        lambda ax: ax.fill_between([0, 1], [0, 1], color=(1, 0, 0, 0.2)),
        lambda ax: ax.axvspan(0, 1, facecolor="#ff000080"),
        lambda ax: ax.imshow(np.ma.masked_equal([[0, 1], [1, 0]], 0)),
    )
    for make in makes:
        figure = plots.new_figure()
        make(figure.add_subplot())
        with pytest.raises(ArgumentError, match=r"EPS knows no transparency, but 1 part"):
            plots.save(figure, tmp_path / "a.eps")
    figure = plots.new_figure()
    ax = figure.add_subplot()
    ax.plot([0, 1], [0, 1], alpha=0.5, visible=False)
    ax.imshow([[0, 1], [1, 0]])
    assert plots.save(figure, tmp_path / "opaque.eps") == [tmp_path / "opaque.eps"]
    assert [path.name for path in tmp_path.iterdir()] == ["opaque.eps"]


def test_pgf_without_latex_is_refused(figure, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ArgumentError, match=r"PGF needs LaTeX.*lualatex.*write \.pdf"):
        plots.save(figure, tmp_path / "a.pgf")
    assert list(tmp_path.iterdir()) == []


TEX = """#!{python}
import sys
for line in sys.stdin:
    if "@@end" in line:
        sys.exit(0)
    if "pgf_backend_query_start" in line:
        sys.stdout.write("*pgf_backend_query_start\\n\\n*")
    if "typeout{{\\\\the\\\\wd0" in line:
        sys.stdout.write("\\n10.0pt,5.0pt,1.0pt\\n\\n*")
    sys.stdout.flush()
"""
"""Measures every text as ten points wide."""


def test_pgf_leaves_the_text_to_latex(figure, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "xelatex"
    program.parent.mkdir()
    program.write_text(TEX.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    texts = [text.get_text() for text in figure.findobj(Text)]
    (ax,) = figure.axes
    ax.set_title("λ of USAM")
    try:
        (path,) = plots.save(figure, tmp_path / "a.pgf")
    finally:
        ax.set_title(texts[0])
    content = path.read_text()
    assert r"\begin{pgfpicture}" in content
    assert r"\ensuremath{\lambda} of USAM" in content
    assert r"\fontsize{8" in content
    assert "Date" not in content
    assert ax.get_title() == texts[0]
    pixels = plots.new_figure()
    pixels.add_subplot().imshow([[0, 1]])
    with pytest.raises(ArgumentError, match=r"PGF cannot hold pixels, but the figure has 1 image"):
        plots.save(pixels, tmp_path / "b.pgf")
