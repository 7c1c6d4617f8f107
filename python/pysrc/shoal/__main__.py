"""`python -m shoal`: the commands of the `shoal` program, `python -m shoal --help` lists them."""

from __future__ import annotations

import signal
import sys

from shoal import _native

__all__ = ["main"]


def main() -> int:
    """Runs the command and returns its exit code: 0 done, 1 failed, 2 usage."""
    # The program handles signals itself; Python's handlers would speak up when it has ended.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    return _native.run_program(["shoal", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
