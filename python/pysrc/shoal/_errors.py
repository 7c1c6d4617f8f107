"""The exceptions of Shoal. Each says in one line what to do.

Everything derives from `ShoalError`, and from the built-in exception that fits, so that code which
knows nothing of Shoal handles it well too. An argument of a wrong type is a plain `TypeError`.
"""


class ShoalError(Exception):
    """Something that Shoal refused or could not do. Nothing was changed by the call."""


class ConfigError(ShoalError, ValueError):
    """A setting or an argument has a value that Shoal cannot work with."""


class AddressError(ConfigError):
    """A text or tuple is no address."""


class DatagramError(ShoalError, ValueError):
    """Bytes are no datagram of the Python node, or not one for these secrets."""


class StartError(ShoalError, OSError):
    """The system did not let a node start; `errno` says why where it gave a number."""


class CommandError(ShoalError, RuntimeError):
    """A running node refused a command."""


class LeaveTimeoutError(ShoalError, TimeoutError):
    """The goodbye was not sent in time. The node goes on with it until it is closed."""


class LifecycleError(ShoalError, RuntimeError):
    """The call does not fit the object's state: not started, started twice, in use elsewhere."""


class ClosedError(LifecycleError):
    """The node is closed, or its thread has ended. Only a new node can go on."""


class MissingExtraError(ShoalError, ImportError):
    """A module needs a package that Shoal does without; the message says what to install."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f"{module} needs more packages: pip install 'shoal[{extra}]'")


class ForkedError(LifecycleError):
    """The object belongs to the parent process: threads do not survive a fork."""
