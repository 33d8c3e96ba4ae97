"""Refinement: footprints, traces and rates of a recorded extraction, from passes that see all frames.

refinement        the passes, one after the other
first_run         what the run found, and what people decided
whole_pieces      pieces of one cell, joined over all frames
whole_extraction  background and components that are known from the first frame on
looking_ahead     activity deconvolved over all frames
final_values      values of every frame, as the run would have given them
"""
