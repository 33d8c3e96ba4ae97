"""The parameters of `spots`, and the camera, PSF and method they make for the kernels."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from ..core.errors import ConfigError, FrameError
from ..core.loaded import Loaded
from ..core.params import Params
from ..core.spec import Camera, Spec
from .kernels.crops import ROUNDING_ADU2
from .kernels.fits import FIXED_WIDTH, MLE, NARROWEST_PX, NO_FIT, ONE_WIDTH, PHASOR, TWO_WIDTHS, WIDEST
from .kernels.integration import METHODS, MODELS, Psf
from .kernels.measuring import Measurement, Sensor
from .kernels.psf import Ellipse
from .sensor import sensor
from .spline import NO_SPLINE, checked_spline


class SpotsParams(Params, frozen=True):
    spots: Annotated[
        Any,
        Meta(
            description="known positions: an array (n, 2) of y, x in px, or with z in nm (n, 3), a .npy, a .csv with "
            "columns y_px, x_px or ThunderSTORM's, or an earlier session; none: spots are detected"
        ),
    ] = None
    detect: Annotated[
        Literal["frame", "mean"] | None,
        Meta(description="in each frame, or on running means, spots then kept; none: frame, unless spots are given"),
    ] = None
    false_alarms: Annotated[
        float,
        Meta(gt=0, le=1e4, description="mean number of spots by noise alone, in a frame or over all detection passes"),
    ] = 1.0
    sigma_px: Annotated[
        float | tuple[float, float], Meta(description="σ of the PSF, or (y, x) of model gauss [px]")
    ] = 1.3
    crop_px: Annotated[int, Meta(ge=5, le=63, description="side of the crop around a spot, odd [px]")] = 11
    model: Annotated[
        Literal["isogauss", "gauss", "spline"], Meta(description="model of the PSF; spline: at known positions")
    ] = "isogauss"
    theta_deg: Annotated[float, Meta(description="rotation of model gauss, at known positions [°]")] = 0.0
    spline: Annotated[Any, Meta(description="model spline: path of an .npz with coefficients, tz, ty, tx [nm]")] = None
    fit: Annotated[
        Literal["mle", "phasor"] | None, Meta(description="fit of detected spots; none: matched filter's positions")
    ] = "mle"
    fit_sigma: Annotated[bool, Meta(description="fit σ too, or fix it at sigma_px: better for faint spots")] = True
    method: Annotated[
        Literal["ml", "weighted", "border"], Meta(description="photon estimator (see integrate_crops)")
    ] = "ml"
    camera: Annotated[Any, Meta(description="path of a calibration (.npz); none: the source's")] = None
    drift: Annotated[
        bool, Meta(description="shift known spots by shift_px of a motion step; this step reads the uncorrected frames")
    ] = False
    mean_frames: Annotated[
        int, Meta(ge=1, description='detect "mean": passes follow frames 1, 2, 4 … and then every so many')
    ] = 128


def both_widths(params: SpotsParams) -> tuple[float, float]:
    """Return sigma_px along y and x. Raises ConfigError for two of an isotropic PSF, or one too wide for the crop."""
    pair = params.sigma_px if isinstance(params.sigma_px, tuple) else (params.sigma_px, params.sigma_px)
    if params.model == "isogauss" and pair[0] != pair[1]:
        raise ConfigError(f'spots: sigma_px {pair} has two widths; model = "gauss" takes them')
    if params.crop_px % 2 == 0:
        raise ConfigError(f"spots: crop_px must be odd, found {params.crop_px}")
    if not all(NARROWEST_PX <= width <= WIDEST * params.crop_px for width in pair):
        raise ConfigError(
            f"spots: sigma_px must be {NARROWEST_PX} to half of crop_px = {params.crop_px}, found {params.sigma_px}"
        )
    return float(pair[0]), float(pair[1])


def measurement_of(params: SpotsParams, spec: Spec, camera: Camera, known: bool) -> Measurement:
    """Return the kernels' Measurement. Raises ConfigError for a fit of what is for known positions alone."""
    fit = {"mle": MLE, "phasor": PHASOR, None: NO_FIT}[params.fit]
    free = FIXED_WIDTH if not params.fit_sigma else TWO_WIDTHS if params.model == "gauss" else ONE_WIDTH
    psf, ellipse = _psf_of(params, spec, known), Ellipse(*both_widths(params), math.radians(params.theta_deg))
    sensor, method = sensor_of(camera, spec), METHODS.index(params.method)
    return Measurement(sensor, psf, ellipse, params.crop_px, fit, method, free)


def _psf_of(params: SpotsParams, spec: Spec, known: bool) -> Psf:
    if not known and params.model == "spline":
        raise ConfigError('spots: model = "spline" integrates at known positions: give spots')
    if not known and params.theta_deg % 180:
        raise ConfigError("spots: theta_deg is for known positions; fits have their widths along y and x")
    pixel_nm = (spec.pixel_um or math.nan) * 1000
    spline = NO_SPLINE
    if params.model == "spline":
        if spec.pixel_um is None:
            raise ConfigError('spots: model = "spline" needs the pixel size, which the source does not state')
        spline = checked_spline(params.spline)
    return Psf(MODELS.index(params.model), (pixel_nm, pixel_nm), spline)


def camera_of(params: SpotsParams, spec: Spec) -> Camera:
    """Return the camera of params, or else the source's. Raises ConfigError for maps of another shape."""
    if params.camera is None:
        return spec.camera or Camera()
    if not isinstance(params.camera, Camera):
        raise ConfigError(f"spots: camera is a calibration (.npz) or a Camera, found {params.camera!r:.60}")
    try:
        spec.with_(camera=(camera := params.camera.for_frames(spec)))
    except FrameError as error:
        raise ConfigError(f"spots: camera: {error}") from None
    return camera


def camera_of_file(loaded: Loaded, spec: Spec) -> Camera:
    """Return the camera of a calibration (.npz). Raises ConfigError for a file that holds none."""
    if loaded.arrays is None:
        raise loaded.expected("a calibration (.npz)")
    try:
        return Camera.of(loaded.arrays)
    except FrameError as error:
        raise ConfigError(str(error)) from None


def sensor_of(camera: Camera, spec: Spec) -> Sensor:
    """Return the kernels' Sensor of a camera."""
    counts = np.dtype(spec.dtype).kind in "iu"
    saturation = float(np.iinfo(spec.dtype).max) if counts else math.inf
    if camera.saturation_adu is not None:
        saturation = float(np.min(camera.saturation_adu))
    rounding = ROUNDING_ADU2 if counts else 0.0
    return sensor(camera, rounding, saturation, spec.shape)
