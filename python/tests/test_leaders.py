"""Leaders, datacenters and routing on running nodes."""

from __future__ import annotations

import pytest
import shoal
from cluster import make_node, until


async def test_a_gate_routes_to_a_datacenter_with_a_leader() -> None:
    async with (
        make_node(role="manager", datacenter="east") as manager,
        make_node(role="worker", datacenter="east", join=[manager.address]),
        make_node(role="gate", datacenter="west", join=[manager.address]) as gate,
    ):
        assert manager.leader() == shoal.Leadership(None, 0, is_own=False)
        manager.set_load(total_cores=8, available_cores=6, queue_depth=2)
        events = manager.events()
        # One manager is its own majority, once it has waited out what it may have promised.
        await until(lambda: manager.leader().is_own)
        async for event in events:
            if isinstance(event, shoal.LeaderElected):
                assert (event.datacenter, event.leader) == ("east", manager.address)
                assert event.term == manager.leader().term
                break

        def told() -> bool:
            healthy = shoal.DatacenterHealth.HEALTHY
            views = gate.datacenters()
            return any(view.total_cores == 8 and view.health is healthy for view in views)

        await until(told)
        (view,) = gate.datacenters()
        assert (view.datacenter, view.leader) == ("east", manager.address)
        assert (view.reachability, view.health) == ("reachable", shoal.DatacenterHealth.HEALTHY)
        assert (view.available_cores, view.queue_depth) == (6, 2)
        assert manager.datacenters() == []

        decision = gate.route("nightly", preferred={"east"})
        assert (decision.selected, decision.manager) == ("east", manager.address)
        assert decision.reason is shoal.RoutingReason.INITIAL_SELECTION
        assert decision.primaries[0].is_preferred
        assert gate.job_sent("nightly", "east", decision.manager)
        assert gate.route("nightly").reason is shoal.RoutingReason.BEST_RETAINED
        assert gate.job_failed("nightly", "east")
        assert not gate.job_failed("nightly", "nowhere")
        assert gate.forget_route("nightly")
        assert not gate.forget_route("nightly")


async def test_only_gates_route_and_only_managers_lead() -> None:
    async with make_node(role="worker") as worker:
        with pytest.raises(shoal.CommandError, match="only a gate"):
            worker.route("nightly")
        with pytest.raises(shoal.CommandError, match="only a manager"):
            worker.set_load(total_cores=1, available_cores=1)
        with pytest.raises(shoal.CommandError, match="only a manager"):
            worker.name_leader(None, 1)
    async with make_node(role="manager") as manager:
        with pytest.raises(shoal.CommandError, match="elect"):
            manager.name_leader(manager.address, 1)
    async with make_node(role="gate") as gate:
        decision = gate.route("nightly")
        assert (decision.selected, decision.manager) == (None, None)
        with pytest.raises(TypeError, match="list or set"):
            gate.route("nightly", preferred="east")
