"""How long the explorer's page takes to answer a slider: orbits at once, proofs soon after.

    python benchmarks/explorer.py [--moves 30] [--json]

Beale's function under USAM, with four orbits of 1000 steps, and the flow of the same rule, given by
its formula, with four solutions up to time 10. "orbits" is the time from a slider's move to the new
orbits in the page, "proof" to marks that are proved for the new value. In Chromium
the time includes the way through the websocket and back. Without a browser only the computing is
timed. CPU time is that of the process that computes; wall times say nothing on a busy machine.
"""

import itertools
import math
import os
import statistics
import time
from typing import Annotated, Any

import typer

from benchmarks import browser
from benchmarks.peers import AsJson, about, report
from samflow.cli import process

process.prepare()

from samflow.explorer.state import State  # noqa: E402

ALLOWED = {"orbits": 100.0, "proof": 500.0}
"""Milliseconds that a person should wait at most."""
_NUMBERS = ("median/ms", "fastest/ms", "slowest/ms", "CPU/ms", "allowed/ms")
STARTS = ((-1.0, 1.0), (2.0, 0.5), (0.5, -1.0), (-0.5, 0.5))
MOTIONS: dict[str, dict[str, Any]] = {
    "map": {"rule": "usam"},
    "flow": {"rule": "g(w + rho*g)", "flow": True},
}


def computing(moves: int) -> list[dict[str, Any]]:
    """Time the computing alone, in this process."""
    from samflow.explorer import quick, slow

    cases: dict[str, Any] = {"orbits": quick.quick, "proof": slow.fixed_points}
    rows = []
    for (motion, kind), (name, compute) in itertools.product(MOTIONS.items(), cases.items()):
        state = State(starts=STARTS, **kind)
        compute(state)
        walls, cpus = [], []
        for i in range(moves):
            moved = state.changed(rho=0.03 + 0.0004 * i)
            wall, cpu = time.perf_counter(), time.process_time()
            compute(moved)
            walls.append(1e3 * (time.perf_counter() - wall))
            cpus.append(1e3 * (time.process_time() - cpu))
        rows.append(_row(name, motion, "computing", walls) | {"CPU/ms": statistics.median(cpus)})
    return rows


def in_the_page(motion: str, moves: int) -> list[dict[str, Any]]:
    """Time the page, in Chromium; then the CPU time of the server and the browser for orbits."""
    arguments = ["--link", State(starts=STARTS, **MOTIONS[motion]).query()]
    with browser.served(*arguments) as server, browser.opened() as chromium:
        page = browser.Page(chromium.new_page(), server.url)
        page.when(_PROVED)
        walls: dict[str, list[float]] = {"orbits": [], "proof": []}
        for i in range(moves):
            found = page.tab.evaluate(_MOVE, 0.03 + 0.0004 * i)
            for name, wall in found.items():
                walls[name].append(wall)
            page.when(_PROVED)
        rows = [_row(name, motion, "page", each) for name, each in walls.items()]
        before = server.cpu(), browser.cpu_of_children(server.pid)
        page.tab.evaluate(_DRAG, moves)
        after = server.cpu(), browser.cpu_of_children(server.pid)
    spent = sum(after) - sum(before)
    rows[0]["CPU/ms"] = 1e3 * spent / moves
    return rows


def _row(name: str, motion: str, where: str, walls: list[float]) -> dict[str, Any]:
    return {
        "answer": name,
        "motion": motion,
        "where": where,
        "median/ms": statistics.median(walls),
        "fastest/ms": min(walls),
        "slowest/ms": max(walls),
        "allowed/ms": ALLOWED[name],
    }


def main(
    moves: Annotated[int, typer.Option(help="Moves of the slider.")] = 30, json: AsJson = False
) -> None:
    """Print how long orbits and proofs take after a slider's move."""
    rows = computing(moves)
    if browser.found() is not None:
        rows += [row for motion in MOTIONS for row in in_the_page(motion, moves)]
    load = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    report(
        about("the time allowed", True, moves=moves, load=load),
        rows,
        as_json=json,
        header=f"{'answer':10}{'motion':10}{'where':12}"
        + "".join(f"{name:>12}" for name in _NUMBERS),
        line=_line,
    )


def _line(row: dict[str, Any]) -> str:
    numbers = "".join(f"{row.get(name, math.nan):12.1f}" for name in _NUMBERS)
    return f"{row['answer']:10}{row['motion']:10}{row['where']:12}{numbers}"


_PROVED = """text("list").includes("fixed point") && !text("list").includes("not yet proved")"""
_DRAG = """moves => new Promise(done => {
  const doc = Bokeh.documents[0]
  let left = moves
  const move = () => {
    doc.get_model_by_name("rho").value = 0.05 + 0.0003 * left
    left -= 1
    left > 0 ? setTimeout(move, 100) : setTimeout(done, 300)
  }
  move()
})"""
_MOVE = """value => new Promise(done => {
  const doc = Bokeh.documents[0]
  const began = performance.now()
  const found = {}
  const orbits = doc.get_model_by_name("orbits")
  const marks = doc.get_model_by_name("marks")
  const heard = () => { found.orbits ??= performance.now() - began }
  const proved = () => {
    const alpha = Array.from(marks.get_column("alpha"))
    if (found.orbits == null || alpha.some(each => each < 1)) return
    found.proof = performance.now() - began
    orbits.properties.data.change.disconnect(heard)
    marks.properties.data.change.disconnect(proved)
    done(found)
  }
  orbits.properties.data.change.connect(heard)
  marks.properties.data.change.connect(proved)
  doc.get_model_by_name("rho").value = value
})"""

if __name__ == "__main__":
    typer.run(main)
