"""An interactive portrait in the browser: the records of other rooms, drawn by Bokeh.

`state` is what is shown, as data. `quick` and `slow` compute it, without a browser. `view` is the
page, `session` connects both, `door` says who is let in, and `server` serves.
"""
