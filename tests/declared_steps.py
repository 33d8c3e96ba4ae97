"""Steps whose operator says how its results are drawn, as the window and the page in a browser are told of them."""

from wire_bytes import hello, result

GIVES = {
    "spots": [
        ("spots", "table", ("frame", "spot", "y_px", "x_px"), "", ""),
        ("photons", "by_id", ("t", "n"), "photons", ""),
        ("rates", "by_id", ("t", "n"), "1/s", ""),
    ],
    "count": [
        ("fine", "snapshot", ("fine_y", "fine_x"), "", ""),
        ("k2", "snapshot", ("y", "x"), "", ""),
        ("k3", "snapshot", ("y", "x"), "", ""),
        ("resolution", "snapshot", ("order",), "nm", ""),
        ("share", "snapshot", (), "", ""),
        ("number", "snapshot", ("spot",), "", ""),
        ("flat", "snapshot", ("spot",), "", ""),
        ("posterior", "snapshot", ("spot", "emitters"), "", ""),
        ("width_bins", "snapshot", ("width_bins",), "nm", ""),
        ("width_histogram", "snapshot", ("width_bins",), "", ""),
    ],
}
DRAWN = {
    "choice": {"order": ["k2", "k3", "no_such"]},
    "colours": {"fine": "inferno"},
    "over_time": ["resolution"],
    "ticks": {"photons": "rates"},
    "gauges": {"share": [0.1, 0.25]},
    "places": {
        "table": "spots", "value": "number", "doubtful": ["flat"], "chances": "posterior", "first": 1,
        "trace": "photons", "fitted": "rates",
    },
}  # fmt: skip
PICTURES = ["fine", "k2", "k3", "frames"]


def declares(*details):
    """What a run says whose last step declares all of it, these details beside its pictures."""
    return hello(
        steps=[("spots", "spots", "source"), ("count", "theirs", "spots")],
        gives=GIVES,
        presents={"theirs": (PICTURES, list(details))},
        drawn={"theirs": DRAWN},
    )


def snapshot(index, **arrays):
    """Snapshots of the step that declares."""
    return result("count", index, kind="snapshot", **arrays)
