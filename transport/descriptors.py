"""The contract as descriptors: what server reflection answers from, and what checks bytes before they are read."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpclib.health.v1 import health_pb2
from grpclib.reflection.v1 import reflection_pb2
from grpclib.reflection.v1alpha import reflection_pb2 as reflection_alpha_pb2


@cache
def published() -> descriptor_pool.DescriptorPool:
    """A pool of our own: the process-wide one is left to others."""
    pool = descriptor_pool.DescriptorPool()
    for file in _files():
        pool.Add(file)
    return pool


def _files() -> list[Any]:
    data = files("protos.generated").joinpath("descriptors.binpb").read_bytes()
    return list(descriptor_pb2.FileDescriptorSet.FromString(data).file)


@cache
def checker(name: str) -> Any:
    """The class that parses messages of this name at C speed, for example "Assign"."""
    return message_factory.GetMessageClass(published().FindMessageTypeByName(f"callboard.v1.{name}"))


@cache
def served() -> descriptor_pool.DescriptorPool:
    """What is published, and what grpclib serves beside it."""
    pool = descriptor_pool.DescriptorPool()
    for module in (health_pb2, reflection_pb2, reflection_alpha_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    for file in _files():
        pool.Add(file)
    return pool
