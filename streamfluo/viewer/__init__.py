"""The viewer: a process of its own that knows only the wire.

    panels   what can be shown, from what `hello` says the steps give       no Qt
    planes   which plane is chosen, what is the same thing in several of them    no Qt
    views    which planes an image shows, and where; `painting` merges them      no Qt
    model    messages in, what panels show out: pictures, traces, tables    no Qt
    window   docks, menus, one clock of 30 Hz that takes what came          Qt
    …_panel  one kind of dock each; they only draw what the model holds     Qt, pyqtgraph

It may import `core`, `edges.network` and the TIFF writer. A new kind of output: a kind in `panels.py`, what it holds in
`model.py`, a panel that draws it.
"""
