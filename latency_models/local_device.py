"""A device on this machine: what all of them do alike to load a network, and what is each one's own."""

import abc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from latency_models.device import Device, check_equal
from latency_models.local_session import LocalSession, Runnable
from latency_models.network import Build, Network

Loader = Callable[[], Runnable]


class LocalDevice(Device):
    """Converts, starts a child process that loads, and holds its output to JAX's.

    Attributes:
      tolerance: Largest error allowed, as a share of the largest output.
    """

    tolerance: float
    is_shared = True

    @staticmethod
    @abc.abstractmethod
    def start() -> None:
        """Imports the runtime in the child, and warms it where that is cheap: what this takes is not the network's."""

    @abc.abstractmethod
    def convert(self, network: Network, build: Build, folder: Path) -> tuple[Loader, np.ndarray]:
        """What the child process is to load, converted files in `folder`, and what JAX computes for the same inputs.

        Raises:
          ValueError: The runtime cannot take the network, or memory does not suffice.
        """

    def load(self, network: Network, build: Build, folder: Path) -> LocalSession:
        """Converts, loads, checks."""
        loader, reference = self.convert(network, build, folder)
        session = LocalSession(loader, start=self.start, subject=f"device {self.name!r}")
        try:
            check_equal(session.output(), reference, device=self.name, tolerance=self.tolerance)
        except BaseException:
            session.close()
            raise
        return session
