"""Floor 2: where frames come from: files, cameras, simulators. It may import core.

To add one: subclass `core.source.Source` in a file of its own, name its URI in the package's entry points
(`streamfluo.sources`, see `opening.py`). tifffile, h5py, zarr and av have their doors here.
"""
