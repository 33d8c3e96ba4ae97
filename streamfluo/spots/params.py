"""The settings of `spots`, and what they say of camera, psf and method."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, cast

import numpy as np
from msgspec import Meta

from ..core.errors import ConfigError, FrameError
from ..core.loaded import Loaded
from ..core.params import Params
from ..core.spec import Camera, Spec
from .kernels.crops import ROUNDING_ADU2
from .kernels.fits import FIXED_WIDTH, MLE, NARROWEST_PX, NO_FIT, ONE_WIDTH, PHASOR, TWO_WIDTHS, WIDEST
from .kernels.integration import METHODS, MODELS
from .kernels.measuring import Sensor, Settings, Shape, sensor
from .spline import NO_SPLINE, given_spline


class SpotsParams(Params, frozen=True):
    spots: Annotated[
        Any,
        Meta(
            description="where spots are: an array (n, 2) of y, x in px, or with z in nm (n, 3), a .npy, a .csv with "
            "columns y_px, x_px or ThunderSTORM's, or an earlier session; none: they are detected"
        ),
    ] = None
    detect: Annotated[
        Literal["frame", "mean"] | None,
        Meta(description="on each frame, or on running means, with the spots kept from then on; none: frame, or spots"),
    ] = None
    false_alarms: Annotated[
        float,
        Meta(gt=0, le=1e4, description="spots that noise alone makes on average, in a frame or on all means together"),
    ] = 1.0
    sigma_px: Annotated[
        float | tuple[float, float], Meta(description="width of the psf, or (y, x) of model gauss [px]")
    ] = 1.3
    crop_px: Annotated[int, Meta(ge=5, le=63, description="side of the crop around a spot, odd [px]")] = 11
    model: Annotated[
        Literal["isogauss", "gauss", "spline"], Meta(description="shape of a spot; spline: at known places")
    ] = "isogauss"
    theta_deg: Annotated[float, Meta(description="turn of model gauss, at known places [°]")] = 0.0
    spline: Annotated[Any, Meta(description="model spline: path of an .npz with coefficients, tz, ty, tx [nm]")] = None
    fit: Annotated[
        Literal["mle", "phasor"] | None, Meta(description="how detected spots are fitted; none: left where they are")
    ] = "mle"
    fit_sigma: Annotated[
        bool, Meta(description="fit the width too, or keep it at sigma_px: better for faint spots")
    ] = True
    method: Annotated[
        Literal["ml", "weighted", "border"], Meta(description="how photons are integrated (see integrate_crops)")
    ] = "ml"
    camera: Annotated[Any, Meta(description="path of a calibration (.npz); none: what the stream says")] = None
    drift: Annotated[
        bool, Meta(description="move known spots by shift_px of a motion step whose frames this step does not see")
    ] = False
    mean_frames: Annotated[
        int, Meta(ge=1, description='detect "mean": looks are after 1, 2, 4 … and then every so many frames')
    ] = 128


def both_widths(params: SpotsParams) -> tuple[float, float]:
    """Return sigma_px along y and x. Raises ConfigError for two of an isotropic psf, or one too wide for the crop."""
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


def method_of(params: SpotsParams) -> Settings:
    """Return side and codes for the kernels."""
    how = {"mle": MLE, "phasor": PHASOR, None: NO_FIT}[params.fit]
    free = FIXED_WIDTH if not params.fit_sigma else TWO_WIDTHS if params.model == "gauss" else ONE_WIDTH
    return Settings(params.crop_px, how, METHODS.index(params.method), free)


def shape_of(params: SpotsParams, spec: Spec, known: bool) -> Shape:
    """Return the shape of a spot; what only integration at known places can do is refused where spots are fitted."""
    if not known and params.model == "spline":
        raise ConfigError('spots: model = "spline" integrates known places: give spots')
    if not known and params.theta_deg % 180:
        raise ConfigError("spots: theta_deg is for known places; fits have their widths along y and x")
    pixel_nm = (spec.pixel_um or math.nan) * 1000
    spline = NO_SPLINE
    if params.model == "spline":
        if spec.pixel_um is None:
            raise ConfigError('spots: model = "spline" needs the size of a pixel, which the source does not say')
        spline = given_spline(params.spline)
    theta = math.radians(params.theta_deg)
    return Shape(MODELS.index(params.model), both_widths(params), theta, (pixel_nm, pixel_nm), spline)


def camera_of(params: SpotsParams, spec: Spec) -> Camera:
    """Return the camera given, or the stream's. Raises ConfigError for one of other frames."""
    if params.camera is None:
        return spec.camera or Camera()
    try:
        spec.with_(camera=params.camera)
    except (FrameError, TypeError) as error:
        raise ConfigError(f"spots: camera: {error}") from None
    return cast(Camera, params.camera)


def camera_of_file(loaded: Loaded, spec: Spec) -> Camera:
    """Return the camera of a calibration (.npz). Raises ConfigError for a file that holds none."""
    if loaded.arrays is None:
        raise loaded.expected("a calibration (.npz)")
    try:
        return Camera.of(loaded.arrays)
    except FrameError as error:
        raise ConfigError(str(error)) from None


def sensor_of(camera: Camera, spec: Spec) -> Sensor:
    """Return the camera as the kernels want it."""
    counts = np.dtype(spec.dtype).kind in "iu"
    saturation = float(np.iinfo(spec.dtype).max) if counts else math.inf
    if camera.saturation_adu is not None:
        saturation = float(np.min(camera.saturation_adu))
    rounding = ROUNDING_ADU2 if counts else 0.0
    return sensor(camera.offset_adu, camera.gain_e_per_adu, camera.read_noise_e, rounding, saturation, spec.shape)
