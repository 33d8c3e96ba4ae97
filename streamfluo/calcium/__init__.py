"""Floor 2: calcium imaging: online source extraction and deconvolution. It may import core and pixels.

extract/                 the operator `extract`
regions                  the operator `regions`, for areas that are given
extracted_components     the result of a session's `components()`
deconvolve               batch deconvolution of one trace
events, onsets           the operator `events`, and its rule for traces that come frame by frame
population               correlations of cells that come and go, the rate of events of all of them
activity_order           cells that are active together side by side
volume/                  the operator `volume`: cells that several slices show
summary, summary_sums    the operator `summary`, and the sums over frames that its images are made of
summary_images           the same of a movie in memory: local correlation, peak-to-noise; masks of a structural channel
component_shapes         centres and contours from footprints
values_by_id             values of frames between which components come and go, side by side
component_tables         components as pandas and xarray have them
across_days/             the same cells in several sessions
refine/                  a recorded extraction again, by passes that see all frames
"""

from . import events, extract, regions, summary, volume

__all__ = ["events", "extract", "regions", "summary", "volume"]
