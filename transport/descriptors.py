"""The contract as descriptors: what server reflection answers from, and what checks bytes before they are read."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


@cache
def published() -> descriptor_pool.DescriptorPool:
    """A pool of our own: the process-wide one is left to others."""
    found = descriptor_pb2.FileDescriptorSet.FromString(
        files("protos.generated").joinpath("descriptors.binpb").read_bytes()
    )
    pool = descriptor_pool.DescriptorPool()
    for file in found.file:
        pool.Add(file)
    return pool


@cache
def checker(name: str) -> Any:
    """The class that parses messages of this name at C speed, for example "Assign"."""
    return message_factory.GetMessageClass(published().FindMessageTypeByName(f"callboard.v1.{name}"))
