"""`samflow explore`: an interactive portrait in the browser."""

from typing import Annotated, Any

import typer

from samflow.cli import options
from samflow.cli.messages import progress, say

LossIfAny = Annotated[
    str,
    typer.Option(
        "--loss",
        help='Name of a loss with two weights, see `samflow losses`; or a formula such as "x**2 - '
        'y**2". It can be changed in the page.',
    ),
]
Link = Annotated[
    str | None,
    typer.Option(
        "--link",
        help="A link that the page gave, of this or an earlier run: what it showed is shown again. "
        "Other options are then left out.",
    ),
]
Port = Annotated[
    int, options.whole_option("--port", help="Port on this machine.", default="one that is free")
]
Flow = Annotated[bool, typer.Option("--flow", help="Show the rule's flow instead of its map.")]
NoBrowser = Annotated[
    bool, typer.Option("--no-browser", help="Print the link only, and open no browser.")
]


def command(
    loss: LossIfAny = "beale",
    rule: options.Rule = "usam",
    rho: options.Rho = 0.05,
    lr: options.LearningRate = 0.01,
    momentum: options.Momentum = 0.0,
    flow: Flow = False,
    box: options.BoxText = None,
    link: Link = None,
    port: Port = 0,
    no_browser: NoBrowser = False,
) -> int:
    """Explore the portrait of a map or a flow in the browser, with sliders for rho, lr, momentum.

    The page is served on this machine only, and needs the link that is printed.
    Ctrl-C ends it.
    """
    progress("starting")
    from samflow._extras import optional

    optional("bokeh", "`samflow explore`")
    from samflow.explorer.server import serve, state_of_link
    from samflow.explorer.state import State

    if link is not None:
        state = state_of_link(link)
    else:
        options.check_hyperparameters(rho=rho, lr=lr, momentum=momentum)
        given: dict[str, Any] = {"rho": rho, "lr": lr, "momentum": momentum}
        state = State(loss=loss, rule=rule, flow=flow, **given)
        if box is not None:
            sides = options.make_box(box, state.system().loss)
            state = state.changed(box=sides)

    def opened(url: str) -> None:
        print(url, flush=True)
        say("Open this link in a browser of this machine. Ctrl-C ends the server.")
        if not no_browser:
            import webbrowser

            webbrowser.open(url)

    serve(state, port=port, opened=opened)
    return 0
