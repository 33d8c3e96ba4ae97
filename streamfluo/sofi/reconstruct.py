"""The operator `reconstruct`: cumulant images deconvolved, linearised and compressed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from ..core.errors import ConfigError
from ..core.loaded import Loaded, plain_array
from ..core.operator import NO_VALUES, Gives, Presents, SnapshotOperator, Values
from ..core.params import Params
from ..core.registry import register
from ..core.spec import Spec
from ..pixels.cosine_interpolation import interpolate_cosine, interpolate_mirrored
from ..pixels.kernels.two_state import balanced, linear_root
from .compression import compress_locally
from .deconvolution_steps import gaussian_psf, lucy_step, shrink_kernel, wiener_filter
from .report import reconstruction_measures, reconstruction_report
from .signs import Signed, follow_sign, sign_sentence

FINE = ("fine_y", "fine_x")


def psf_of_file(loaded: Loaded, spec: Spec) -> np.ndarray:
    """Return the image of a PSF (y, x) from a .npy."""
    return plain_array(loaded, spec)


class ReconstructParams(Params, frozen=True):
    order: Annotated[int, Meta(ge=2, le=8, description="of the cumulant image")] = 4
    grid: Annotated[bool, Meta(description="from sofi's grid of virtual pixels (cross_grid_k) instead of k")] = False
    factor: Annotated[int, Meta(ge=1, le=16, description="interpolation before, samples a pixel")] = 2
    method: Annotated[
        Literal["shrinking-kernel", "richardson-lucy", "wiener", "none"], Meta(description="deconvolution")
    ] = "shrinking-kernel"
    psf: Annotated[
        Any,
        Meta(description="'estimate' (sofi with cross), σ in pixels, a path of a .npy or an array on the fine grid"),
    ] = "estimate"
    iterations: Annotated[int, Meta(ge=0, le=1000, description="iterations of the deconvolution")] = 20
    exponent: Annotated[float, Meta(gt=1, description="λ of the shrinking kernel")] = 1.5
    snr: Annotated[float, Meta(gt=0, description="ratio of powers for the Wiener filter")] = 100.0
    window: Annotated[
        tuple[Annotated[int, Meta(ge=1)], Annotated[int, Meta(ge=1)]],
        Meta(description="of ldrc (h, w), on the fine grid [px]"),
    ] = (25, 25)


def _gives(order: int, balancing: bool) -> tuple[Gives, ...]:
    images = (  # a viewer shows the first by default
        Gives("linearised", "snapshot", FINE, "ADU", "root of the deconvolved image, linear in brightness"),
        Gives("widefield", "snapshot", FINE, "ADU", "the mean, interpolated"),
        Gives("cumulant", "snapshot", FINE, f"ADU^{order}", f"the cumulant of order {order}, interpolated"),
        Gives("deconvolved", "snapshot", FINE, f"ADU^{order}", "the cumulant image, deconvolved"),
        Gives(
            "compressed",
            "snapshot",
            FINE,
            "ADU",
            "the deconvolved image, its range compressed locally to that of the widefield image",
        ),
    )
    maps = (
        Gives("on_ratio", "snapshot", ("y", "x"), "", "fraction of the time an emitter is on"),
        Gives("brightness", "snapshot", ("y", "x"), "ADU", "of an emitter while on, a frame"),
        Gives("density", "snapshot", ("y", "x"), "", "emitters in a PSF"),
    )
    sign = Gives("sign", "snapshot", FINE, "", "of the cumulant where there is light, 0 elsewhere")
    what = "the PSF's width that is used, or undetermined: then images are NaN; the cumulant's sign; what is doubtful"
    status = Gives("status", "snapshot", (), "", what)
    return (*images, sign, status, *(maps if balancing else ()))


@register("reconstruct")
class Reconstruct(SnapshotOperator):
    """The SOFI image: a cumulant image of `sofi` interpolated, deconvolved, linearised and compressed.

    Computed on a thread beside the chain when a subscriber asks, and at the end. The PSF of order n is the microscope's
    to the power n, a Gaussian whose σ is estimated or stated, or an image. Where the estimate is undetermined, `status`
    says so and what is made with it is NaN. The cumulant's sign is followed where there is light, which k2 of the same
    pixels tells; what has the other sign is set to 0 before deconvolution. `status` says what is negative, and whether
    the image is doubtful: bright places that are noise, or both signs. Cost: 2 Fourier transforms of the fine image for
    each iteration.
    """

    version = 2
    Params = ReconstructParams
    devices = ("cpu", "gpu")
    # Other Fourier transforms: 1e-12 of each largest value, but `linearised`, a root that makes more of what is near 0.
    twin_tolerance = 1e-4
    from_file = {"psf": psf_of_file}
    gives = _gives(4, True)
    presents = Presents(
        ("deconvolved", "cumulant", "widefield", "frames"),
        ("resolution", "change", "numbers"),
        "widefield",
        choice=("picture", (*(f"k{n}" for n in range(2, 9)), "deconvolved")),
        over_time=("resolution", "change"),
    )
    report = staticmethod(reconstruction_report)
    measures = staticmethod(reconstruction_measures)
    live = {"iterations": 2, "exponent": 1.7, "snr": 30.0, "window": (3, 9)}
    examples = ({"psf": 1.3, "order": 2, "method": "richardson-lucy", "iterations": 3, "window": (5, 7)},)

    def __init__(self, params: ReconstructParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        p = params
        self._source = f"cross_grid_k{p.order}" if p.grid else f"k{p.order}"
        self._light = "cross_grid_k2" if p.grid else "k2"
        self._steps = p.factor * (2 if p.grid else 1)  # samples of the fine grid a pixel
        self._psf = _load_psf(p.psf)
        estimated = ("psf_sigma_px",) if p.psf == "estimate" and p.method != "none" else ()
        balancing = ("k2", "k3", "k4") if p.order >= 4 and not p.grid else ()
        self.needs = tuple(dict.fromkeys(("mean", self._source, self._light, *balancing, *estimated)))
        self.gives = _gives(p.order, bool(balancing))

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        wanted = self.snapshot_names(names)
        for need in self.needs:
            if need not in inputs:
                raise ConfigError(f"reconstruct: needs the snapshot {need!r}, found {', '.join(inputs) or 'none'}")
        made: dict[str, np.ndarray] = {}
        return {name: self._make(name, inputs, made) for name in wanted}

    def _make(self, name: str, inputs: Values, made: dict[str, np.ndarray]) -> np.ndarray:
        if name not in made:
            made[name] = self._compute(name, inputs, made)
        return made[name].copy()

    def _compute(self, name: str, inputs: Values, made: dict[str, np.ndarray]) -> np.ndarray:
        p = self.params
        if name == "widefield":
            return self._interpolated(_known(inputs["mean"]), self._steps)
        if name == "status":
            return np.array(f"{self._status(inputs)}; {sign_sentence(self._signed(inputs), p.order)}")
        if name == "cumulant":
            return self._interpolated(_known(inputs[self._source]), p.factor)
        if name == "deconvolved":
            sign = self._fine(self._signed(inputs).sign)
            return self._deconvolved(np.maximum(sign * self._make("cumulant", inputs, made), 0), inputs)
        if name == "sign":
            found = self._signed(inputs)
            return self._fine(np.where(found.lit, found.sign, 0))
        if name == "linearised":
            return np.asarray(linear_root(self._make("deconvolved", inputs, made), p.order))
        if name == "compressed":
            image, mask = self._make("deconvolved", inputs, made), self._make("widefield", inputs, made)
            if np.isnan(image).any():
                return image
            window = tuple(min(side, w) for side, w in zip(image.shape, p.window, strict=True))
            return np.asarray(compress_locally(image, mask, window))
        maps = balanced(*(np.asarray(inputs[k], float) for k in ("k2", "k3", "k4")))
        made.update(zip(("on_ratio", "brightness", "density"), maps, strict=True))
        return made[name]

    def _deconvolved(self, image: np.ndarray, inputs: Values) -> np.ndarray:
        p = self.params
        psf = self._psf_of_order(inputs)
        if p.method == "none" or not image.any():
            return image
        if psf is None:
            return np.full(image.shape, np.nan)
        if self.card is None:
            return np.asarray(self._steps_of(image, psf, np))
        return self.card.get(self._steps_of(self.card.put(image), self.card.put(psf), self.card.xp))

    def _steps_of(self, image: Any, psf: Any, xp: Any) -> Any:
        """Return an image deconvolved by a PSF, both of the array namespace `xp`."""
        p = self.params
        if p.method == "shrinking-kernel":
            return shrink_kernel(image, psf, p.exponent, p.iterations, xp)
        if p.method == "wiener":
            return wiener_filter(image, psf, p.snr, xp)
        estimate = image
        for _ in range(p.iterations):
            estimate = lucy_step(estimate, image, psf, xp)
        return estimate

    def _interpolated(self, image: np.ndarray, factor: int) -> np.ndarray:
        if self.card is None:
            return np.asarray(interpolate_cosine(image, factor))
        return self.card.get(interpolate_mirrored(self.card.put(image), factor, self.card.xp))

    def _signed(self, inputs: Values) -> Signed:
        cumulant, light = (np.asarray(inputs[name], float) for name in (self._source, self._light))
        return follow_sign(cumulant, light, self.params.order, 2.0 if self.params.grid else 1.0)

    def _fine(self, image: np.ndarray) -> np.ndarray:
        """Return the image on the fine grid, each sample that of the nearest pixel."""
        rows, columns = (np.arange((side - 1) * self.params.factor + 1) for side in image.shape)
        nearest = np.ix_(*((at + self.params.factor // 2) // self.params.factor for at in (rows, columns)))
        return image[nearest]

    def _status(self, inputs: Values) -> str:
        """Say which PSF is used."""
        if self.params.method == "none":
            return "not deconvolved, as asked"
        if isinstance(self._psf, np.ndarray):
            return "the PSF is the image given"
        sigma = self._sigma_px(inputs)
        if not math.isfinite(sigma):
            return "undetermined: there is no estimate of the PSF (sofi's psf_status says why); give σ in pixels as psf"
        return f"the PSF is a Gaussian of σ = {sigma:.3g} px, {'estimated' if self._psf is None else 'as given'}"

    def _sigma_px(self, inputs: Values) -> float:
        return float(inputs["psf_sigma_px"] if self._psf is None else self._psf)  # type: ignore[arg-type]

    def _psf_of_order(self, inputs: Values) -> np.ndarray | None:
        """Return the PSF on the fine grid, None while there is no estimate."""
        if isinstance(self._psf, np.ndarray):
            psf = self._psf**self.params.order
            return np.asarray(psf / psf.sum())
        if self.params.method == "none":
            return None
        sigma = self._sigma_px(inputs)
        if not math.isfinite(sigma):
            return None
        reach_px, side_px = 4 * sigma / math.sqrt(self.params.order), max(self.spec.shape)
        if reach_px > side_px:  # a kernel of any size otherwise: a flat estimate is infinitely wide
            raise ConfigError(
                f"reconstruct: a PSF of σ = {sigma:.4g} px is wider than the frame, {side_px} px; state psf = σ"
            )
        return np.asarray(gaussian_psf(sigma * self._steps / math.sqrt(self.params.order)))


def _known(image: Any) -> np.ndarray:
    """Return the image with 0 for NaN, before the first frame and at the grid's border."""
    return np.nan_to_num(np.asarray(image, float), posinf=0, neginf=0)


def _load_psf(psf: Any) -> float | np.ndarray | None:
    """Return the PSF's σ [px], its image, or None to estimate it. Raises ConfigError."""
    if isinstance(psf, str) and psf == "estimate":
        return None
    if isinstance(psf, int | float) and not isinstance(psf, bool):
        if not 0.1 <= psf <= 100:
            raise ConfigError(f"psf is a σ of 0.1 to 100 pixels, found {psf}")
        return float(psf)
    try:
        array = np.asarray(psf, float)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"psf is 'estimate', a σ in pixels, or a .npy; found {psf!r}: {error}") from None
    good = array.ndim == 2 and array.dtype.kind in "iuf" and array.shape[0] % 2 and array.shape[1] % 2
    if not (good and np.isfinite(array).all() and (array >= 0).all() and array.sum() > 0):
        raise ConfigError(f"a PSF is an image of odd sides, nowhere negative; found {array.shape}")
    return array.astype(float) / array.max()
