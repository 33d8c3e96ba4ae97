"""A run in the browser, to look at: pages that a program of its own serves, one more viewer on the wire.

    access     who may look: the token, where a page may come from, what the browser is told      no library
    messages   what goes to a page: a header in JSON and arrays                                    no library
    told       how the run fares, in words                                                         no library
    run_view   what there is to show of a run; pictures as JPEG, by size                           Pillow
    columns    values of every frame, as many as a page has room for                               no library
    visitor    what one page asks for and has been sent; what it did not take is let go            no library
    server     connections, limits, the clock                                                      websockets
    page/      the page itself: HTML, one CSS, modules of JavaScript; nothing from the wire becomes HTML

It imports `core`, `network` and those parts of `viewer` that know no Qt, so that a page shows what the window shows.
"""
