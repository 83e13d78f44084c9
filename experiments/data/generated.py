"""Data sets whose pictures are made when they are asked for: which sizes they come in."""

import dataclasses

from experiments.errors import InputError

DEFAULT_RESOLUTION = 32


@dataclasses.dataclass(frozen=True)
class GeneratedSizes:
    """The resolutions that square colour pictures are made at.

    Attributes:
        name: of the data set.
        made: how, for messages, such as "is drawn".
        smallest: resolution.
        largest: resolution.
        colours: why it has three channels, for messages.
    """

    name: str
    made: str
    smallest: int
    largest: int
    colours: str

    def resolution(self, resolution: int | None, channels: int | None) -> int:
        """The resolution that was asked for; by default 32.

        Raises:
            InputError: pictures are not made at it, or grey ones are asked for.
        """
        resolution = DEFAULT_RESOLUTION if resolution is None else resolution
        if not self.smallest <= resolution <= self.largest:
            raise InputError(
                f"data set {self.name!r} {self.made} at a `resolution` of {self.smallest} to {self.largest}, got {resolution}; "
                "use 16 or 32"
            )
        if channels not in (None, 3):
            raise InputError(f"data set {self.name!r} {self.colours}: `channels` must be 3, got {channels}; use 3")
        return resolution
