"""The same cells on other days: fields matched, cells matched with probabilities, ids that hold over all days.

day              what is known of a day: footprints, ids, an image of the field
field_images     images of a day that are compared, and patches of them
field_map        where a place of the common field lies in a day's field: affine, with a piecewise displacement field
field_match      the search for it, its evidence, its refinement
pairs            distance and footprint correlation of components, within days and across
pair_model       how likely each is of the same cell and of others, fitted to the pairs themselves
association      probability of each pair, where a component is at most one component of another day
clusters         ids over many days
registration     all of it: `register_days`, `register_sessions`
registered       the result, its files, ROICaT's among them
report           days overlaid, as a picture
"""
