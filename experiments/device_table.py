"""The table of devices: how each is written, what it is, and whether it can measure from here."""

import importlib
import io

from latency_models.device import DEVICES, get_device, missing_packages

_WIDTH, _USAGE_WIDTH = 110, 34


def device_table() -> str:
    """All devices, for a terminal; nothing is measured, and no runtime is loaded."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_lines=True)
    table.add_column("device", no_wrap=True)
    table.add_column("what it is")
    table.add_column("from here", overflow="fold")  # it may hold a path
    for name, entry in DEVICES.items():
        table.add_row(_broken(entry.usage), *_described(name))
    console = Console(file=io.StringIO(), width=_WIDTH, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().strip("\n").splitlines())


def _broken(usage: str) -> str:
    """A spelling in lines that end with a comma, each as long as the column allows."""
    lines = [""]
    for part in usage.replace(",", ",\0").split("\0"):
        if lines[-1] and len(lines[-1]) + len(part) > _USAGE_WIDTH:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _described(name: str) -> tuple[str, str]:
    """What a device is, and whether it can be used; if not, why, with the remedy."""
    if missing := missing_packages(name):
        # Its class may not be made without them; what its file says first needs none.
        title = (importlib.import_module(DEVICES[name].module).__doc__ or "").splitlines()[0].rstrip(".")
        packages = " ".join(package.replace("_", "-") for package in missing)
        return title, f"no: {packages} not installed; install {packages}"
    device = get_device(name)
    reason = device.absence()
    return device.description, f"no: {reason}" if reason else "yes"
