"""Puts the drop-ins into hyperscale, wherever its modules hold the originals.

A module that is not imported yet is imported with its classes replaced the moment it has run, so
that whatever it is imported by, subclasses of it included, sees the drop-ins only. In modules that
were there before, names bound by `from ... import ...`, dataclass defaults and function defaults
are replaced where they stand. Every step is noted; an error, and `uninstall()`, take all of them
back.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import inspect
import sys
import threading
import tomllib
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from shoal._config import Config
from shoal._errors import ShoalError

from ._plane import DatagramPlane
from ._replaced import KNOWN_VERSIONS, REPLACED, TAKEN_OVER

__all__ = ["InstallError", "install", "installed", "uninstall"]

_ORIGINALS = "hyperscale.distributed."
_DROP_INS = "shoal.hyperscale."

Methods = dict[str, Callable[[Any], Any]]


class InstallError(ShoalError, ImportError):
    """The drop-ins do not fit this hyperscale, or are in use. Nothing was changed."""


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

    def take_over(self, owner: type, methods: Methods) -> None:
        """Puts methods into a class, made of those that it has or inherits."""
        for name, make in methods.items():
            full_name = f"{owner.__module__}.{owner.__name__}.{name}"
            original = getattr(owner, name, None)
            if not callable(original):
                raise InstallError(f"{full_name} is not there; this version is not supported")
            method = functools.wraps(original)(make(original))
            _check_same_call(original, method, full_name)
            former = vars(owner).get(name)
            setattr(owner, name, method)
            self._undo.append(functools.partial(_give_back, owner, name, former))
            self.replaced[full_name] = method

    def replace_in(self, module: types.ModuleType) -> None:
        """Replaces the classes that a module defines."""
        path = module.__name__.removeprefix(_ORIGINALS)
        drop_ins = importlib.import_module(_DROP_INS + path)
        if path in TAKEN_OVER:
            self.take_over(getattr(module, TAKEN_OVER[path]), drop_ins.METHODS)
        for name in REPLACED.get(path, ()):
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


def _check_same_call(original: Any, method: Any, name: str) -> None:
    """Refuses a method that is called otherwise than the one in whose place it is put."""
    wanted = list(inspect.signature(original).parameters)
    offered = list(inspect.signature(method, follow_wrapped=False).parameters)
    if wanted != offered:
        raise InstallError(f"{name} takes {', '.join(wanted)}, not {', '.join(offered)}")


def _give_back(owner: type, name: str, former: Any) -> None:
    """Puts a method back, or takes away what hid an inherited one."""
    if former is None:
        delattr(owner, name)
    else:
        setattr(owner, name, former)


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
        if fullname.removeprefix(_ORIGINALS) not in {**REPLACED, **TAKEN_OVER}:
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


def install(config: Config | None = None) -> list[str]:
    """Replaces hyperscale's classes by the drop-ins and puts the engine under its servers; gives
    the names of all that is replaced, as `installed()` does.

    Call it before hyperscale's servers are imported where that is possible: classes that were
    derived from a replaced one earlier stay derived from the original. A second call changes
    nothing. Warns when the version of hyperscale is not one that the drop-ins were compared with.

    config: how the nodes under the servers behave; `wire_format` is hyperscale's in any case.

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
            for path in (*REPLACED, *TAKEN_OVER):
                installation.replace_in_imported(path)
            installation.sweep()
        except BaseException as error:
            installation.take_back()
            if isinstance(error, (ImportError, SyntaxError)) and not isinstance(
                error, InstallError
            ):
                raise InstallError(f"hyperscale cannot be imported: {error}") from error
            raise
        DatagramPlane.config = config or Config()
        _active.append(installation)
        return installed()


def uninstall() -> None:
    """Puts hyperscale's own classes back. Objects made meanwhile stay what they are.

    Raises `InstallError` while servers run on the engine: stop them first.
    """
    with _lock:
        if _active and DatagramPlane.active:
            raise InstallError(f"{DatagramPlane.active} servers run on the engine; stop them first")
        while _active:
            _active.pop().take_back()


def installed() -> list[str]:
    """The full names of all classes, functions and methods that are replaced now."""
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
