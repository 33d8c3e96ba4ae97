"""Refinement: footprints, traces and rates of a recorded extraction, from passes that see all frames."""
