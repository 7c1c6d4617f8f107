"""Puts the drop-ins into hyperscale, wherever its modules hold the originals.

A module that is not imported yet is imported with its classes replaced the moment it has run, so
that whatever it is imported by, subclasses of it included, sees the drop-ins only. In modules that
were there before, names bound by `from ... import ...`, dataclass defaults and function defaults
are replaced where they stand. Every step is noted; an error, and `uninstall()`, take all of them
back.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
import threading
import tomllib
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from shoal._errors import ShoalError

from ._replaced import KNOWN_VERSIONS, REPLACED

__all__ = ["InstallError", "install", "installed", "uninstall"]

_ORIGINALS = "hyperscale.distributed."
_DROP_INS = "shoal.hyperscale."


class InstallError(ShoalError, ImportError):
    """The drop-ins do not fit this hyperscale. Nothing was replaced."""


class _Installation:
    """What was replaced, and how to take it back."""

    def __init__(self) -> None:
        self.replaced: dict[str, Any] = {}
        self._pairs: list[tuple[Any, Any]] = []
        self._undo: list[Callable[[], None]] = []

    def set(self, holder: Any, name: str, value: Any) -> None:
        """Sets an attribute, and notes what it was."""
        former = getattr(holder, name)
        setattr(holder, name, value)
        self._undo.append(lambda: setattr(holder, name, former))

    def undo_with(self, step: Callable[[], None]) -> None:
        """Notes one more thing to take back."""
        self._undo.append(step)

    def take_back(self) -> None:
        """Takes everything back, the last step first. Modules imported meanwhile took drop-ins
        from those that define them; they get the originals."""
        while self._undo:
            self._undo.pop()()
        _sweep({id(drop_in): (drop_in, original) for original, drop_in in self._pairs})
        self.replaced.clear()
        self._pairs.clear()

    def replace_in(self, module: types.ModuleType) -> None:
        """Replaces the classes that a module defines."""
        path = module.__name__.removeprefix(_ORIGINALS)
        drop_ins = importlib.import_module(_DROP_INS + path)
        for name in REPLACED[path]:
            original, drop_in = getattr(module, name, None), getattr(drop_ins, name)
            if original is drop_in:
                continue
            if original is None:
                raise InstallError(f"{module.__name__} has no {name}; its version is not supported")
            _check_fit(original, drop_in, f"{module.__name__}.{name}")
            self._pairs.append((original, drop_in))
            self.set(module, name, drop_in)
            if isinstance(drop_in, type):
                # A pickle names the class by its module; a node without Shoal has to find it.
                self.set(drop_in, "__module__", original.__module__)
            self.replaced[f"{module.__name__}.{name}"] = drop_in

    def replace_in_imported(self, path: str) -> None:
        """Imports a module if need be, which replaces its classes, or replaces them now."""
        name = _ORIGINALS + path
        was_there = sys.modules.get(name)
        module = importlib.import_module(name)
        if module is was_there:
            self.replace_in(module)

    def sweep(self) -> None:
        """Replaces what modules imported earlier took from those that define it."""
        _sweep({id(original): (original, drop_in) for original, drop_in in self._pairs})


class _Exchange(dict[int, tuple[Any, Any]]):
    """What to put in whose place, by the identity of what is there."""

    def of(self, value: Any) -> Any | None:
        """What to put in place of a value."""
        pair = self.get(id(value))
        return pair[1] if pair is not None and pair[0] is value else None


def _sweep(pairs: dict[int, tuple[Any, Any]]) -> None:
    """Exchanges values wherever hyperscale's modules, classes and functions hold them."""
    exchange = _Exchange(pairs)
    modules: list[tuple[str, Any]] = list(sys.modules.items())
    for name, module in modules:
        if not name.startswith("hyperscale.") or not isinstance(module, types.ModuleType):
            continue
        for attribute, value in list(vars(module).items()):
            if (other := exchange.of(value)) is not None:
                setattr(module, attribute, other)
            elif isinstance(value, type) and value.__module__ == name:
                _sweep_class(value, exchange)
            elif isinstance(value, types.FunctionType) and value.__module__ == name:
                _sweep_function(value, exchange)


def _sweep_class(cls: type, exchange: _Exchange) -> None:
    for attribute, value in list(vars(cls).items()):
        function = getattr(value, "__func__", value)
        if isinstance(function, types.FunctionType):
            _sweep_function(function, exchange)
        elif (other := exchange.of(value)) is not None:
            setattr(cls, attribute, other)
    for member in getattr(cls, "__dataclass_fields__", {}).values():
        if (other := exchange.of(member.default_factory)) is not None:
            member.default_factory = other


def _sweep_function(function: types.FunctionType, exchange: _Exchange) -> None:
    for cell in function.__closure__ or ():
        try:
            other = exchange.of(cell.cell_contents)
        except ValueError:  # The cell is empty.
            continue
        if other is not None:
            cell.cell_contents = other
    defaults = function.__defaults__ or ()
    if any(exchange.of(value) is not None for value in defaults):
        function.__defaults__ = tuple(exchange.of(value) or value for value in defaults)


def _check_fit(original: Any, drop_in: Any, name: str) -> None:
    """Refuses to replace a class that can do more than its drop-in."""
    if not isinstance(original, type):
        return
    wanted = {attribute for attribute in dir(original) if not attribute.startswith("_")}
    offered = {*dir(drop_in), *getattr(drop_in, "__dataclass_fields__", ())}
    offered.update(getattr(getattr(drop_in.__init__, "__code__", None), "co_varnames", ()))
    if missing := sorted(wanted - offered):
        raise InstallError(f"{name} has {', '.join(missing)}, which its drop-in has not")


class _Finder(importlib.abc.MetaPathFinder):
    """Replaces classes in modules at the moment they have run."""

    def __init__(self, installation: _Installation) -> None:
        self._installation = installation

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """The usual specification, with a loader that replaces afterwards."""
        if fullname.removeprefix(_ORIGINALS) not in REPLACED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            _replace_after(spec.loader, self._installation)
        return spec


def _replace_after(loader: Any, installation: _Installation) -> None:
    run = loader.exec_module

    def run_and_replace(module: types.ModuleType) -> None:
        run(module)
        installation.replace_in(module)

    loader.exec_module = run_and_replace


_lock = threading.RLock()
_active: list[_Installation] = []
"""What is installed: one or none."""


def install() -> list[str]:
    """Replaces hyperscale's classes by the drop-ins; gives their names, as `installed()` does.

    Call it before hyperscale's servers are imported where that is possible: classes that were
    derived from a replaced one earlier stay derived from the original. A second call changes
    nothing. Warns when the version of hyperscale is not one that the drop-ins were compared with.

    Raises `InstallError` when hyperscale cannot be imported or the drop-ins do not fit; then
    nothing is replaced.
    """
    with _lock:
        if _active:
            return installed()
        _warn_unless_known(_version())
        installation = _Installation()
        finder = _Finder(installation)
        sys.meta_path.insert(0, finder)
        installation.undo_with(lambda: sys.meta_path.remove(finder))
        try:
            for path in REPLACED:
                installation.replace_in_imported(path)
            installation.sweep()
        except BaseException as error:
            installation.take_back()
            if isinstance(error, (ImportError, SyntaxError)) and not isinstance(
                error, InstallError
            ):
                raise InstallError(f"hyperscale cannot be imported: {error}") from error
            raise
        _active.append(installation)
        return installed()


def uninstall() -> None:
    """Puts hyperscale's own classes back. Objects made meanwhile stay what they are."""
    with _lock:
        while _active:
            _active.pop().take_back()


def installed() -> list[str]:
    """The full names of all classes and functions that are replaced now."""
    with _lock:
        return sorted(_active[0].replaced) if _active else []


def _version() -> str | None:
    """The version of the hyperscale that would be imported."""
    try:
        spec = importlib.util.find_spec("hyperscale")
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise InstallError("hyperscale is not there; install it or put its checkout on sys.path")
    for root in _roots(spec):
        try:
            return str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])
        except (OSError, KeyError, tomllib.TOMLDecodeError):
            continue
    try:
        return importlib.metadata.version("hyperscale")
    except importlib.metadata.PackageNotFoundError:
        return None


def _roots(spec: importlib.machinery.ModuleSpec) -> Iterator[Path]:
    for location in spec.submodule_search_locations or ():
        yield Path(location).parent


def _warn_unless_known(version: str | None) -> None:
    if version not in KNOWN_VERSIONS:
        known = ", ".join(sorted(KNOWN_VERSIONS))
        warnings.warn(
            f"hyperscale {version or 'of unknown version'} was not compared with the drop-ins, "
            f"which know {known}",
            stacklevel=3,
        )
