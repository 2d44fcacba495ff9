"""The product's own server with one more RPC: the floor that the others are compared with.

``python -m bench.service serve`` is ``appointments serve``, process for process; only, the service ``bench.v1.Floor``
is registered beside the real ones. Its method ``Empty`` answers an empty message to an empty message, through the same
policy: request id, deadline, identity, log line. What it lacks is what the others are for: conversion and database.
``bench.v1.Bare/Idle`` is a stream beside the policy.
"""

import asyncio
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, empty_pb2
from google.protobuf.descriptor import ServiceDescriptor

from appointments.api import scopes
from appointments.api.caller import Caller
from appointments.api.rpc import Policy, Registrar
from appointments.server import app, cli


def _descriptor() -> ServiceDescriptor:
    file = descriptor_pb2.FileDescriptorProto(
        name="bench/v1/floor.proto", package="bench.v1", dependency=["google/protobuf/empty.proto"], syntax="proto3"
    )
    service = file.service.add(name="Floor")
    service.method.add(name="Empty", input_type=".google.protobuf.Empty", output_type=".google.protobuf.Empty")
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName("bench.v1.Floor")


FLOOR = _descriptor()
scopes.RULES[FLOOR.full_name] = {"Empty": scopes.ANY_KEY}


class Floor:
    """Does nothing."""

    async def Empty(self, request: empty_pb2.Empty, caller: Caller) -> empty_pb2.Empty:  # noqa: N802, ARG002
        """Answer."""
        return empty_pb2.Empty()


async def idle(data: bytes, context: "grpc.aio.ServicerContext[Any, Any]") -> None:  # noqa: ARG001
    """A stream of one empty message that then does nothing: what an open stream costs the engine alone."""
    await context.write(b"")
    await asyncio.get_running_loop().create_future()


class _WithFloor(Policy):
    def register(
        self,
        service: ServiceDescriptor,
        servicer: object,
        *servers: Registrar,
        public: bool = False,
        audited: bool = False,
    ) -> None:
        super().register(service, servicer, *servers, public=public, audited=audited)
        if service is app.APPOINTMENTS:
            super().register(FLOOR, Floor(), *servers)
            bare: Any = grpc.unary_stream_rpc_method_handler(idle)
            servers[0].add_registered_method_handlers("bench.v1.Bare", {"Idle": bare})


if __name__ == "__main__":
    app.Policy = _WithFloor  # type: ignore[attr-defined]
    cli.main()
