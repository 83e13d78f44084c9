"""The program `adb`: which phones it lists, and commands on one of them, each with a time limit."""

import dataclasses
import shlex
import shutil
import subprocess
from pathlib import Path

_SHORT_S = 30.0
# USB 2 does 30 MB/s; a hub or Wi-Fi far less.
_SLOWEST_BYTES_PER_S = 2e6
_USABLE = "device"
_REMEDIES = {
    "unauthorized": "unlock it, and accept the question whether this computer may debug it",
    "authorizing": "unlock it, and accept the question whether this computer may debug it",
    "offline": "take its cable out and in again, or run `adb reconnect`",
    "no": "this user may not open it: install the udev rules for Android devices, or run `adb kill-server` and retry",
}
_NO_PROGRAM = "there is no program `adb` on PATH; install Android's platform tools and put their folder on PATH"
_NO_PHONE = (
    "adb lists no phone; connect one by USB, with `USB debugging` on in its developer options, or run `adb connect ADDRESS`"
)


@dataclasses.dataclass(frozen=True)
class Phone:
    """A phone that adb lists and that lets us in.

    Attributes:
      serial: As adb calls it.
    """

    serial: str

    def run(self, command: str, *, limit_s: float = _SHORT_S) -> tuple[int, str]:
        """Exit code of a shell command on the phone, and all that it prints.

        Raises:
          ValueError: adb itself fails (its last line), or the time limit is exceeded.
        """
        code, output = _adb("-s", self.serial, "shell", f"({command}) 2>&1", limit_s=limit_s)
        if code and last_line(output).startswith(("adb: ", "error: ")):
            raise ValueError(f"adb shell fails on phone {self.serial}: {last_line(output)}")
        return code, output

    def shell(self, command: str, *, limit_s: float = _SHORT_S) -> str:
        """What a shell command prints on the phone.

        Raises:
          ValueError: It fails (its last line), or the time limit is exceeded.
        """
        code, output = self.run(command, limit_s=limit_s)
        if code:
            raise ValueError(f"adb shell {command!r} fails on phone {self.serial}: {last_line(output)}")
        return output

    def push(self, path: Path, remote: str) -> None:
        """Copies a file to the phone.

        Raises:
          ValueError: It fails (the last line), or takes too long for its size.
        """
        limit_s = _SHORT_S + path.stat().st_size / _SLOWEST_BYTES_PER_S
        code, output = _adb("-s", self.serial, "push", str(path), remote, limit_s=limit_s)
        if code:
            raise ValueError(f"adb push of {path.name} fails on phone {self.serial}: {last_line(output)}")

    def remove(self, remote: str) -> None:
        """Deletes a file on the phone, if it is there.

        Raises:
          ValueError: It cannot be deleted.
        """
        self.shell(f"rm -f {shlex.quote(remote)}")


def find_phone(serial: str | None) -> Phone:
    """The phone with a serial number; without one the only phone that is listed.

    Raises:
      ValueError: There is no adb, no such phone, none or several to choose from, or it does not let us in; with the remedy.
    """
    phones = listed_phones()
    listed = ", ".join(phones)
    if not phones:
        raise ValueError(_NO_PHONE)
    if serial is None:
        if len(phones) > 1:
            raise ValueError(f"adb lists {len(phones)} phones: {listed}; name one, as adb:{next(iter(phones))}")
        (serial,) = phones
    if serial not in phones:
        raise ValueError(f"adb lists no phone {serial!r}; it lists {listed}")
    if (state := phones[serial]) != _USABLE:
        remedy = _REMEDIES.get(state.split()[0], "start it normally, and look at what `adb devices` says")
        raise ValueError(f"phone {serial} is {state!r} to adb; {remedy}")
    return Phone(serial)


def listed_phones() -> dict[str, str]:
    """State of each phone that adb lists, by serial number.

    Raises:
      ValueError: There is no adb, or it fails.
    """
    if shutil.which("adb") is None:
        raise ValueError(_NO_PROGRAM)
    code, output = _adb("devices", limit_s=_SHORT_S)
    if code:
        raise ValueError(f"adb devices fails: {last_line(output)}")
    # Before the heading stands what adb says about starting its server.
    _, _, table = output.partition("List of devices attached")
    rows = (line.split(maxsplit=1) for line in table.splitlines())
    return {row[0]: row[1].strip() for row in rows if len(row) == 2}


def last_line(output: str) -> str:
    """The last line that is not empty."""
    return next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "it says nothing")


def _adb(*arguments: str, limit_s: float) -> tuple[int, str]:
    """Exit code of adb, which is that of the command on the phone, and its output."""
    try:
        done = subprocess.run(
            ["adb", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit_s,
            check=False, text=True, errors="replace",
        )  # fmt: skip
    except FileNotFoundError:
        raise ValueError(_NO_PROGRAM) from None
    except subprocess.TimeoutExpired:
        raise ValueError(
            f"adb {' '.join(arguments)[:200]} did not end within {limit_s:.0f} s; look at the phone and its cable"
        ) from None
    return done.returncode, done.stdout
