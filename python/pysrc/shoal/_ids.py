"""What names a job, a worker or a workflow in a call.

A `str` is taken by its SHA-256, the same way in every layer of Shoal, so that one name means one
job everywhere. An `int`, a `uuid.UUID` or 16 `bytes` are taken as they are.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias
from uuid import UUID

from shoal._addresses import Address
from shoal._native import JobId, WorkerId, WorkflowId

JobName: TypeAlias = JobId | str | int | UUID | bytes
WorkerName: TypeAlias = WorkerId | str | int | UUID | bytes
WorkflowName: TypeAlias = WorkflowId | str | int | UUID | bytes
Datacenters: TypeAlias = Iterable[str] | Mapping[str, Address | None]
"""Names of datacenters, or a mapping from them to managers that are known or `None`."""
