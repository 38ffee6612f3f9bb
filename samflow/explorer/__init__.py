"""An interactive portrait in the browser and in notebooks: other records, drawn by Bokeh.

`state` is what is shown, as data. `quick` and `slow` compute it, without a browser. `view` is the
page, `session` connects both, `door` says who is let in, `server` serves, and `notebook` shows the
page in a cell.
"""

from samflow.explorer.notebook import Exploration, explore

__all__ = ["Exploration", "explore"]
