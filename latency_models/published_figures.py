"""Published latencies of diffusion UNets on phones and chips, as their sources state them.

Only what is about a UNet, or a network that runs beside it at each step, and can be brought to one step: totals of images
whose number of steps is not stated are left out, and so are relative gains. A source's own value, unit and number of steps
are kept; `published_profiles` does the arithmetic.

The releases of Qualcomm's AI Hub differ: in another one than that used here (with QAIRT 2.41) the phones' SD 1.5 figures
are 7 % lower to 3 % higher, and a board's is several times as high.
"""

from latency_models.published_profiles import NOT_STATED, DeviceKind, PublishedLatency

_AI_HUB = "Qualcomm AI Hub Models, perf.yaml"
# Device, its kind, and milliseconds of SD 1.5, SD 2.1 and a ControlNet branch.
_AI_HUB_ROWS: tuple[tuple[str, DeviceKind, float | None, float | None, float | None], ...] = (
    ("Snapdragon 8 Elite Gen 5", "phone", 44.8, 39.6, 28.8),
    ("Galaxy S25", "phone", 60.2, 53.2, 46.1),
    ("Galaxy S24", "phone", 79.1, 69.7, 59.5),
    ("QCS8550", "board", 112.1, 95.8, 83.7),
    ("Snapdragon X Elite", "computer", 112.9, 96.3, None),
    ("IQ-9075", "board", 105.0, 89.8, None),
    ("Snapdragon 7 Gen 4", "phone", 183.9, 178.4, None),
    ("QCS8275", "board", 262.5, None, None),
    ("Q-6690", "board", 2211.0, 2236.0, None),
)
_SD14, _SD15, _SD21, _SDXL = "SD 1.4", "SD 1.5", "SD 2.1", "SDXL"  # 1.4 and 1.5 are one architecture
_APPLE, _APPLE_DATE = "Apple ml-stable-diffusion, README", "2023-08 to 2023-09"
_APPLE_SD21: tuple[tuple[str, DeviceKind, float], ...] = (
    ("iPhone 12 mini", "phone", 1.44),
    ("iPhone 12 Pro Max", "phone", 1.45),
    ("iPhone 13", "phone", 2.53),
    ("iPhone 13 Pro Max", "phone", 2.55),
    ("iPhone 14", "phone", 2.57),
    ("iPhone 14 Pro Max", "phone", 2.69),
    ("iPad M1", "tablet", 2.19),
    ("iPad M2", "tablet", 3.07),
)
_APPLE_SDXL: tuple[tuple[str, DeviceKind, float], ...] = (
    ("iPhone 12 Pro", "phone", 0.50),
    ("iPhone 13 Pro Max", "phone", 0.68),
    ("iPhone 14 Pro Max", "phone", 0.83),
    ("iPhone 15 Pro Max", "phone", 0.85),
    ("iPad M1", "tablet", 0.69),
    ("iPad M2", "tablet", 0.98),
)
_APPLE_SDXL_GPU: tuple[tuple[str, DeviceKind, float], ...] = (
    ("M1 Max", "computer", 0.46),
    ("M2 Max", "computer", 0.57),
    ("M1 Ultra", "computer", 0.89),
    ("M2 Ultra", "computer", 1.11),
)
_APPLE_NOTE = "up to about 10 % of each figure is not Core ML's"
_CONTROLNET_NOTE = "ControlNet's branch runs beside the UNet, before each pass"


def _ai_hub(device: str, kind: DeviceKind, ms: float, *, network: str, design: str | None, note: str = "") -> PublishedLatency:
    return PublishedLatency(
        device, kind, network, design, 512, 1, "QNN context binary", "w8a16", "NPU", ms, "ms", None, "verified", _AI_HUB,
        NOT_STATED, note=note,
    )  # fmt: skip


def _apple(
    device: str, kind: DeviceKind, rate: float, *, network: str, resolution: int, precision: str, unit: str
) -> PublishedLatency:
    return PublishedLatency(
        device, kind, network, None, resolution, 2, "Core ML", precision, unit, rate, "iterations/s", None, "verified", _APPLE,
        _APPLE_DATE, note=_APPLE_NOTE,
    )  # fmt: skip


_SINGLE = (
    PublishedLatency(
        "Pixel 7 Pro", "phone", _SD15, "sd15", 512, None, "TFLite", NOT_STATED, "CPU", 30.0, "s", None, "verified",
        "MLPerf mobile_app_open, pull request 936", "2024-12-03", note="\"about 30 seconds\"; its log has steps of 32 to 33 s",
    ),
    PublishedLatency(
        "Snapdragon 8 Elite", "phone", _SD15, "sd15", 512, 2, "Adreno CLML", NOT_STATED, "GPU", 0.4596, "s", None, "verified",
        "Fast-Diffusion, README", NOT_STATED,
    ),
    PublishedLatency(
        "Snapdragon 8 Elite", "phone", _SDXL, None, 1024, 2, "Adreno CLML", NOT_STATED, "GPU", 3.217, "s", None, "verified",
        "Fast-Diffusion, README", NOT_STATED,
    ),
    PublishedLatency(
        "Snapdragon 8 Elite", "phone", _SDXL, None, 1024, 1, "Adreno CLML", NOT_STATED, "GPU", 1.614, "s", None, "verified",
        "Fast-Diffusion, README", NOT_STATED,
    ),
    PublishedLatency(
        "Snapdragon 8 Gen 3", "phone", _SD15, "sd15", None, None, "stable-diffusion.cpp", NOT_STATED, NOT_STATED, 8.0, "s",
        None, "verified", "Local-Diffusion's author, as Fast-Diffusion's README quotes it", NOT_STATED,
    ),
    PublishedLatency(
        "Galaxy S23 Ultra", "phone", _SD14, "sd15", 512, None, "GPU kernels of its own", "float, no int8", "GPU", 11.5, "s", 20,
        "verified", "SnapFusion (arXiv 2306.00980), of Speed Is All You Need (arXiv 2304.11267)", "2023-06",
        is_upper_bound=True, note="text encoder and decoder are in the 11.5 s; Speed Is All You Need itself says under 12 s",
    ),
    PublishedLatency(
        "iPhone 14 Pro", "phone", _SD15, "sd15", 512, None, NOT_STATED, NOT_STATED, NOT_STATED, 1700.0, "ms", None,
        "remembered", "SnapFusion (arXiv 2306.00980), table 1", "2023-06",
    ),
    PublishedLatency(
        "iPhone 14 Pro", "phone", "SnapFusion", "snapfusion", 512, None, NOT_STATED, NOT_STATED, NOT_STATED,
        230.0, "ms", None, "remembered", "SnapFusion (arXiv 2306.00980), table 1", "2023-06",
    ),
    PublishedLatency(
        "iPhone 14 Pro", "phone", "SnapFusion", "snapfusion", 512, None, NOT_STATED, NOT_STATED, NOT_STATED,
        2.0, "s", 8, "verified", "SnapFusion (arXiv 2306.00980)", "2023-06", is_upper_bound=True,
        note="text encoder and decoder are in the 2 s, which it is under",
    ),
    PublishedLatency(
        "iPhone 15 Pro", "phone", "MobileDiffusion", "mobilediffusion", 512, None, NOT_STATED, NOT_STATED, NOT_STATED,
        142.0, "ms", None, "remembered", "MobileDiffusion (arXiv 2311.16567)", "2023-11",
    ),
)  # fmt: skip

FIGURES: tuple[PublishedLatency, ...] = (
    *(_ai_hub(name, kind, ms, network=_SD15, design="sd15") for name, kind, ms, _, _ in _AI_HUB_ROWS if ms is not None),
    *(_ai_hub(name, kind, ms, network=_SD21, design=None) for name, kind, _, ms, _ in _AI_HUB_ROWS if ms is not None),
    *(
        _ai_hub(
            name,
            kind,
            ms,
            network="ControlNet branch of SD 1.5",
            design=None,
            note=_CONTROLNET_NOTE,
        )
        for name, kind, _, _, ms in _AI_HUB_ROWS
        if ms is not None
    ),
    *(
        _apple(name, kind, rate, network=_SD21, resolution=512, precision="6-bit weights", unit="CPU and NE")
        for name, kind, rate in _APPLE_SD21
    ),
    *(
        _apple(name, kind, rate, network=_SDXL, resolution=768, precision="4-bit weights", unit="CPU and NE")
        for name, kind, rate in _APPLE_SDXL
    ),
    *(
        _apple(name, kind, rate, network=_SDXL, resolution=1024, precision=NOT_STATED, unit="GPU")
        for name, kind, rate in _APPLE_SDXL_GPU
    ),
    *_SINGLE,
)
