"""What a monitor costs beside the training that it looks at, on a network of digits, full batch.

Trains one network twice, with a monitor every 50 steps and without, and prints the CPU time of
each, their ratio less 1, and how many Hessian-vector products a row took on average. The first
row, which has no vectors to start from, is counted.

    python benchmarks/monitor.py [--images 1797] [--hidden 64] [--steps 1000] [--every 50]
        [--runs 5] [--no-flags] [--json]
"""

from typing import Annotated, Any

import typer

from benchmarks.peers import AsJson, Flags, Runs, about, interleaved, report, set_up

LR, RHO = 0.15, 0.02


def main(
    images: Annotated[int, typer.Option(help="Images of digits.")] = 1797,
    hidden: Annotated[int, typer.Option(help="Hidden units.")] = 64,
    steps: Annotated[int, typer.Option(help="Steps of a training.")] = 1000,
    every: Annotated[int, typer.Option(help="Steps between two rows.")] = 50,
    runs: Runs = 5,
    flags: Flags = True,
    as_json: AsJson = False,
) -> None:
    """Measure, and print the overhead for each rule."""
    set_up(flags)
    import jax.random as jr

    import samflow as sf
    from samflow.networks import Monitor, digits_loss, first_state, train

    loss, w = digits_loss(jr.key(0), num_images=images, hidden=hidden)
    rows = []
    for rule in (sf.GD(), sf.USAM(rho=RHO), sf.SAM(rho=RHO)):
        system = sf.Map(loss, rule, lr=LR)
        start, seen = first_state(system, w), []

        def watched(system: Any = system, start: Any = start, seen: Any = seen) -> None:
            seen.append(Monitor(every=every))
            train(system, start, until=steps, monitor=seen[-1])

        def plain(system: Any = system, start: Any = start) -> None:
            train(system, start, until=steps)

        watched()  # compiles
        timing = interleaved(runs, plain=plain, watched=watched)
        products = seen[-1].record.num_products
        rows.append(
            {
                "rule": rule.name,
                "plain": timing.seconds["plain"],
                "watched": timing.seconds["watched"],
                "overhead": timing.seconds["watched"] / timing.seconds["plain"] - 1,
                "products": float(products[1:].mean()),
                "most": int(products[1:].max()),
            }
        )
    settings = {"images": images, "weights": loss.dim, "steps": steps, "every": every}
    report(
        about("the same training without a monitor", flags, **settings),
        rows,
        as_json=as_json,
        header=f"{'rule':8}{'plain s':>10}{'watched s':>11}{'overhead':>10}  products a row",
        line=lambda r: (
            f"{r['rule']:8}{r['plain']:10.3f}{r['watched']:11.3f}{r['overhead']:10.1%}"
            f"  {r['products']:.1f}, at most {r['most']}"
        ),
    )


if __name__ == "__main__":
    typer.run(main)
