"""A recording in parts that learn from a sample first, and the session that they are put together into."""

from streamfluo.reprocess.in_parts import learn_first, merged, parts_of, process_part
from streamfluo.reprocess.one_recording import Task
from streamfluo.reprocess.recordings import recordings

SAMPLED = """
[source]
interval_s = 0.0333
[[step]]
kind = "motion"
[[step]]
kind = "moments"
[[step]]
kind = "extract"
params = { neuron_sigma_px = 3.0, decay_s = 0.4, ar_order = 1 }
after = "motion"
"""


def in_parts(folder, count, sample=None, config=SAMPLED):
    """Take `movie.tif` of a folder in parts; its session is `out/movie`. sample: frames to learn from, where any is."""
    for name in ("out", "work"):
        (folder / name).mkdir(exist_ok=True)
    task = Task(("parts.toml", config, ()), recordings([str(folder / "movie.tif")])[0], str(folder / "out"))
    parts = parts_of(task, count, str(folder / "work"), sample)
    learned = learn_first(parts[0]) if sample else None
    return merged([(part, process_part(part)) for part in parts], learned)
