"""The sciences as batch functions on arrays and images, for notebooks; names load on first use."""

from .core.lazy import lazy_names

__getattr__, __all__ = lazy_names(
    {
        "calcium.activity_order": ("activity_order",),
        "calcium.across_days.day": ("Day",),
        "calcium.across_days.registered": ("RegisteredDays",),
        "calcium.across_days.registration": ("register_days",),
        "calcium.deconvolve": ("Deconvolved", "deconvolve"),
        "calcium.summary_images": ("local_correlation", "masks_from_structure", "peak_to_noise"),
        "gain.calibrate": ("Calibration", "calibrate"),
        "gain.detect_gain": ("GainResult", "detect_gain"),
        "sofi.bleaching": ("bleaching_segments", "debleach", "filter_time"),
        "sofi.deconvolution": ("richardson_lucy", "shrinking_kernel_deconvolve", "wiener"),
        "spots.find_spots": ("FoundSpots", "find_spots"),
        "spots.fit_spots": ("FitErrors", "SpotFits", "fit_spots"),
        "sofi.images": (
            "average_image", "balance", "fourier_interpolate", "ldrc", "linearise", "minimum_image", "total_signal",
        ),
        "spots.integrate_crops": ("SpotPhotons", "integrate_crops"),
        "sofi.statistics": (
            "cross_cumulants", "cumulants", "cumulants_from_moments", "k_statistics", "lagged_cumulants", "moments",
        ),
    }
)  # fmt: skip


def __dir__() -> list[str]:
    return __all__
