"""`install()` with a package that looks like hyperscale."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from shoal.hyperscale._replaced import REPLACED, TAKEN_OVER
from shoal.hyperscale.swim.health_aware_server import METHODS

IMPORT = "import sys, warnings, shoal.hyperscale as drop_ins\n"


def methods(names: list[str]) -> str:
    """Methods that are called as those that are put in their place."""
    lines: list[str] = []
    for name in names:
        made = METHODS[name](lambda: None)
        lines.append(f"    def {name}({', '.join(inspect.signature(made).parameters)}): pass\n")
    return "".join(lines)


@pytest.fixture(scope="module")
def look_alike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with the modules and names that are replaced, and users of them."""
    root = tmp_path_factory.mktemp("checkout")
    distributed = root / "hyperscale" / "distributed"
    for path, names in REPLACED.items():
        file = distributed / Path(*path.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"class {name}:\n    pass\n" for name in names))
    inherited = [name for name in METHODS if name.endswith("udp")]
    assert inherited
    for path, name in TAKEN_OVER.items():
        own = [method for method in METHODS if method not in inherited]
        (distributed / Path(*path.split(".")).with_suffix(".py")).write_text(
            f"class Base:\n{methods(inherited)}\nclass {name}(Base):\n{methods(own)}"
        )
    for folder in {file.parent for file in root.rglob("*.py")} | {distributed, distributed.parent}:
        (folder / "__init__.py").touch()
    (distributed / "user.py").write_text(
        textwrap.dedent("""
        from dataclasses import dataclass, field
        from hyperscale.distributed.swim.gossip.gossip_buffer import GossipBuffer
        from .swim.coordinates.coordinate_tracker import CoordinateTracker as Tracker

        @dataclass
        class Server:
            gossip: object = field(default_factory=GossipBuffer)
            kind = GossipBuffer

        def build(make=GossipBuffer):
            return make()
        """)
    )
    (root / "pyproject.toml").write_text('[project]\nname = "hyperscale"\nversion = "0.7.2"\n')
    return root


def run(checkout: Path, program: str, **environment: str) -> str:
    """Runs a program in an interpreter of its own, which sees the checkout."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT + textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": str(checkout), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


CHECK = """
def names(user):
    made = user.Server().gossip
    return {type(made).__module__, type(user.build()).__module__, user.Server.kind.__module__,
            user.GossipBuffer.__module__, user.Tracker.__module__, type(made).__name__}
def is_ours(user):
    classes = {type(user.Server().gossip), type(user.build()), user.Server.kind, user.GossipBuffer}
    ours = sys.modules["shoal.hyperscale.swim.gossip.gossip_buffer"].GossipBuffer
    tracker = sys.modules["shoal.hyperscale.swim.coordinates.coordinate_tracker"].CoordinateTracker
    return classes == {ours} and user.Tracker is tracker
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_everybody_gets_the_drop_ins_and_the_originals_back(look_alike: Path, when: str) -> None:
    user = "import hyperscale.distributed.user as user\n"
    install = "replaced = drop_ins.install()\n"
    program = user + install if when == "after" else install + user
    program += CHECK + textwrap.dedent("""
        assert is_ours(user)
        assert drop_ins.installed() == replaced == drop_ins.install()
        assert "hyperscale.distributed.swim.gossip.gossip_buffer.GossipBuffer" in replaced
        import pickle, hyperscale.distributed.models.coordinates as models
        place = models.NetworkCoordinate([0.0] * 8, 0.0, 0.0, 1.0)
        assert b"hyperscale.distributed.models.coordinates" in pickle.dumps(place)
        assert b"shoal" not in pickle.dumps(place)
        drop_ins.uninstall()
        drop_ins.uninstall()
        assert drop_ins.installed() == []
        assert not is_ours(user)
        assert "shoal" not in str(names(user)), names(user)
        assert type(place).__module__ == "shoal.hyperscale.models.coordinates"
        drop_ins.install()
        assert is_ours(user)
        print("done")
    """)
    assert run(look_alike, program) == "done\n"


def test_nothing_is_replaced_when_one_class_does_not_fit(look_alike: Path, tmp_path: Path) -> None:
    # The last module that is replaced has a class that can do more than its drop-in.
    module, name = list(REPLACED)[-1], REPLACED[list(REPLACED)[-1]][-1]
    program = f"""
        import importlib
        changed = importlib.import_module("hyperscale.distributed.{module}")
        changed.{name}.something_new = lambda self: None
        import hyperscale.distributed.user as user
        before = {{name: dict(vars(module)) for name, module in sys.modules.items()
                  if name.startswith("hyperscale.distributed.")}}
        finders = list(sys.meta_path)
        try:
            drop_ins.install()
        except drop_ins.InstallError as error:
            assert "something_new" in str(error), error
        else:
            raise SystemExit("it was installed")
        for name, attributes in before.items():
            now = vars(sys.modules[name])
            assert {{k: v for k, v in attributes.items() if k[:2] != "__"}}.items() <= now.items()
        assert sys.meta_path == finders and drop_ins.installed() == []
        assert user.Server.kind.__module__.startswith("hyperscale.")
    """
    run(look_alike, program)


def test_methods_of_servers_are_taken_over_and_given_back(look_alike: Path) -> None:
    program = """
        import hyperscale.distributed.swim.health_aware_server as module
        server, before = module.HealthAwareServer, dict(vars(module.HealthAwareServer))
        class Derived(server):
            pass
        replaced = drop_ins.install()
        from shoal.hyperscale.swim.health_aware_server import METHODS
        for name in METHODS:
            assert f"{server.__module__}.HealthAwareServer.{name}" in replaced
            assert getattr(Derived, name) is not before.get(name, getattr(module.Base, name, None))
        assert "send_udp" in vars(server)
        drop_ins.uninstall()
        assert dict(vars(server)) == before
    """
    run(look_alike, program)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("del server.join_cluster", "HealthAwareServer.join_cluster is not there"),
        (
            "server.join_cluster = lambda self, seeds: None",
            "HealthAwareServer.join_cluster takes self, seeds, not self, seed_node, timeout",
        ),
    ],
)
def test_nothing_is_replaced_when_a_method_does_not_fit(
    look_alike: Path, change: str, reason: str
) -> None:
    program = f"""
        import hyperscale.distributed.swim.health_aware_server as module
        server = module.HealthAwareServer
        {change}
        before = dict(vars(server))
        try:
            drop_ins.install()
        except drop_ins.InstallError as error:
            print(error)
        assert dict(vars(server)) == before and drop_ins.installed() == []
    """
    assert reason in run(look_alike, program)


def test_no_hyperscale_and_an_unknown_one(look_alike: Path, tmp_path: Path) -> None:
    refused = """
        try:
            drop_ins.install()
        except drop_ins.InstallError as error:
            print(error)
    """
    assert "hyperscale is not there" in run(tmp_path, refused)
    (tmp_path / "hyperscale").symlink_to(look_alike / "hyperscale")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "9.0"\n')
    warned = """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            drop_ins.install()
        print(caught[0].message, caught[0].filename)
    """
    assert "hyperscale 9.0 was not compared" in run(tmp_path, warned)


def test_every_drop_in_is_there() -> None:
    for path, names in REPLACED.items():
        module = __import__(f"shoal.hyperscale.{path}", fromlist=["*"])
        for name in names:
            assert name in module.__all__, f"{path}.{name}"
