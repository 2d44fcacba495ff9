"""The one policy for every RPC on both transports: request id, identity, scope, deadline, faults → status, a log line.

Each handler is wrapped when its service is registered, not per call. Both servers get the same wrapped handlers, so the
two transports cannot behave differently. Handlers see ``(request, visitor)`` and raise domain faults; nothing else of
gRPC reaches them. Messages arrive as bytes and are parsed here, so that garbage is the caller's fault, not INTERNAL.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import cache, lru_cache, partial
from time import perf_counter
from typing import Any, NamedTuple, NoReturn, Protocol, TypeAlias, TypeVar, runtime_checkable
from uuid import UUID

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from appointments.api.address import client_address
from appointments.api.caller import Caller, Visitor, request_id
from appointments.api.convert import identifier
from appointments.api.deadlines import Deadlines
from appointments.api.gate import Gate
from appointments.api.scopes import Rule, rule_of
from appointments.api.status import DETAILS_KEY, status, status_code
from appointments.api.streams import Stream, Streams
from appointments.auth import audit, secret
from appointments.auth.identity import Identity
from appointments.auth.ratelimit import Limiter, network
from appointments.shared import metrics, tracing
from appointments.shared.errors import (
    Conflict,
    DeadlineExceeded,
    Denied,
    Fault,
    Malformed,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

DEFAULT_DEADLINE = 15.0
"""Seconds that a call gets if its client sets no deadline, so that nothing waits for ever."""

BACKSTOP = 2.0
"""Seconds after the client's own deadline at which a call is ended here, if the server has not ended it by then."""

RENEWED_SECONDS = 0.5
"""How fresh an answer about an identity must be for a stream, which asks seldom."""

CHECKED_AT_ONCE = 200
"""Streams that are looked at before others get a turn."""

MAX_MESSAGE_BYTES = 4 * 2**20
"""What a request may have, gRPC's own default."""

FILES = frozenset({"/appointments.v1.AppointmentService/ImportAppointments"})
"""The methods whose requests are files. They may have as much as the ports let pass."""

T = TypeVar("T")
StatusCode = grpc.StatusCode
Context = grpc.aio.ServicerContext[bytes, bytes]
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
Behaviour = Callable[[bytes, Context], Awaitable[bytes]]
Method = Callable[[Message, Any], Awaitable[Message]]
NoteWrite = Callable[[UUID], Awaitable[str]]
StreamBehaviour = Callable[[bytes, Context], Awaitable[None]]
StreamMethod = Callable[[Message, Any], AsyncGenerator[Message, None]]

_log = structlog.get_logger("appointments.request")


class Authenticator(Protocol):
    """Tells who an access token or a key belongs to."""

    async def identify(self, credential: str) -> Identity:
        """Raise Unauthenticated if it is not valid, or not any more."""

    async def act(self, identity: Identity, user_id: UUID) -> Identity:
        """Make the call the user's, or raise Denied, NotFound or Unmet."""

    async def renew(self, credentials: Iterable[str], user_ids: Iterable[UUID], *, older_than: float) -> None:
        """Look all of them up again whose answers are older than so many seconds, together."""


@runtime_checkable
class Forgetful(Protocol):
    """A context that can drop what nobody will ask for any more."""

    def forget_metadata(self) -> None:
        """Drop the metadata of the request."""


class Proof(NamedTuple):
    """What a caller has shown: a credential, and for which user a service account acts."""

    credential: str
    acts_for: UUID | None
    rule: Rule


class Registrar(Protocol):
    """The part of a server that the policy needs: the engines of the native port and the gRPC-Web front all have it."""

    def add_registered_method_handlers(self, service_name: str, method_handlers: dict[str, Handler]) -> None:
        """Serve these."""


class Policy:
    """Wraps handlers.

    ``trusted_proxy_hops`` is the number of proxies in front of the server. ``note_write`` is told who has written, and
    returns what the answer carries as ``x-read-after``, "" for nothing. ``limiter`` counts keys that are refused.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        *,
        trusted_proxy_hops: int = 0,
        note_write: NoteWrite | None = None,
        limiter: Limiter | None = None,
    ) -> None:
        self.gate = Gate()
        self.streams: Streams[Proof] = Streams(self._look_again)
        metrics.observed(metrics.RPC_ACTIVE, lambda: self.gate.inside)
        self._deadlines = Deadlines()
        self._authenticator = authenticator
        self._hops = trusted_proxy_hops
        self._note_write = note_write
        self._limiter = limiter

    def register(
        self,
        service: ServiceDescriptor,
        servicer: object,
        *servers: Registrar,
        public: bool = False,
        audited: bool = False,
    ) -> None:
        """Serve every method of ``service`` on every server; with ``public``, without asking for an identity.

        What an ``audited`` service records knows where the call comes from.

        Raises:
            AttributeError: the servicer lacks a method of the contract.
            LookupError: a method that is not public has no rule in :mod:`~appointments.api.scopes`.
        """
        handlers: dict[str, Handler] = {}
        for method in service.methods:
            handler = getattr(servicer, method.name)
            if method.server_streaming:
                stream = self._stream_behaviour(method, handler, rule_of(method))
                handlers[method.name] = grpc.unary_stream_rpc_method_handler(stream)
            else:
                behaviour = self._behaviour(
                    method, _audited(handler) if audited else handler, None if public else rule_of(method)
                )
                handlers[method.name] = grpc.unary_unary_rpc_method_handler(behaviour)
        for server in servers:
            server.add_registered_method_handlers(service.full_name, handlers)

    def _behaviour(self, method: MethodDescriptor, handler: Method, rule: Rule | None) -> Behaviour:
        parse = GetMessageClass(method.input_type).FromString
        service = method.containing_service.full_name
        name = f"/{service}/{method.name}"
        duration_of = cache(partial(metrics.RPC_DURATION.labels, service, method.name))

        async def behaviour(data: bytes, context: Context, headers: dict[str, str] | None = None) -> bytes:
            started = perf_counter()
            headers = headers or _headers(context)
            visitor = self._visitor(headers, context)
            context.set_trailing_metadata((("x-request-id", visitor.request_id),))
            code = StatusCode.OK
            try:
                with self.gate, self._deadlines.within(_time_left(context)):
                    if rule:
                        credential = _credential(headers.get("authorization", ""))
                        visitor = caller = await self._caller(credential, headers, visitor)
                        visitor = await self._allowed(caller, headers, rule)
                    answer = (await handler(_parsed(parse, data, name), visitor)).SerializeToString()
                    if self._note_write and rule and rule.writes and isinstance(visitor, Caller):
                        await self._tell_position(self._note_write, visitor, context)
                    return answer
            except asyncio.CancelledError:
                code = StatusCode.CANCELLED
                raise
            except Exception as error:  # noqa: BLE001 - the last line: whatever it is, it becomes a status
                fault = _fault(error, visitor.request_id)
                code = status_code(fault)
                if isinstance(fault, Conflict):
                    metrics.CONFLICTS.inc()
                await _abort(context, fault, visitor.request_id)
            finally:
                duration = perf_counter() - started
                door = getattr(context, "door", "native")  # the context of gRPC itself does not say
                duration_of(code.name, door).observe(duration)
                _log.info(
                    "request",
                    request_id=visitor.request_id,
                    method=name,
                    status=code.name,
                    duration_ms=round(duration * 1000, 2),
                    **_who(visitor),
                )
                tracing.ended(code.name)

        return _traced(method, behaviour) if tracing.enabled() else behaviour

    async def _tell_position(self, note_write: NoteWrite, caller: Caller, context: Context) -> None:
        with suppress(Unavailable):  # what was written is written
            if position := await note_write(caller.user_id):
                context.set_trailing_metadata((("x-request-id", caller.request_id), ("x-read-after", position)))

    def _stream_behaviour(self, method: MethodDescriptor, handler: StreamMethod, rule: Rule) -> StreamBehaviour:
        """Wrap a method that answers an identity with a stream. Its start is logged as well as its end."""
        parse = GetMessageClass(method.input_type).FromString
        name = f"/{method.containing_service.full_name}/{method.name}"

        async def behaviour(data: bytes, context: Context, headers: dict[str, str] | None = None) -> None:
            started = perf_counter()
            headers = headers or _headers(context)
            visitor = self._visitor(headers, context)
            context.set_trailing_metadata((("x-request-id", visitor.request_id),))
            code, sent = StatusCode.OK, 0
            try:
                with self.gate:
                    async with asyncio.timeout(DEFAULT_DEADLINE):
                        proof, caller = await self.admit(headers, visitor, rule)
                    visitor = caller
                    messages = handler(_parsed(parse, data, name), caller)
                    with self.streams.admitted(caller.user_id, proof):
                        _log.info("stream", request_id=caller.request_id, method=name, **_who(caller))
                        # It may last for half an hour beside thousands of others, so it keeps what it needs alone.
                        del headers, proof, caller
                        if isinstance(context, Forgetful):
                            context.forget_metadata()
                        async with aclosing(messages):
                            async for message in messages:
                                await self.streams.sent(context.write(message.SerializeToString()))
                                sent += 1
            except asyncio.CancelledError:
                code = StatusCode.CANCELLED
                raise
            except Exception as error:  # noqa: BLE001 - the last line: whatever it is, it becomes a status
                fault = _fault(error, visitor.request_id)
                code = status_code(fault)
                await _abort(context, fault, visitor.request_id)
            finally:
                _log.info(
                    "request",
                    request_id=visitor.request_id,
                    method=name,
                    status=code.name,
                    duration_ms=round((perf_counter() - started) * 1000, 2),
                    messages=sent,
                    **_who(visitor),
                )
                tracing.ended(code.name)

        return _traced(method, behaviour) if tracing.enabled() else behaviour

    def _visitor(self, headers: dict[str, str], context: Context) -> Visitor:
        return self.visitor(headers, _peer_address(context.peer()), headers.get("x-forwarded-for"))

    def visitor(self, headers: dict[str, str], peer: str, forwarded_for: str | None) -> Visitor:
        """What is known of a client before anybody has asked who it is. ``peer`` is the address that it came from."""
        return Visitor(
            request_id=request_id(headers.get("x-request-id", "")),
            address=_address(peer, forwarded_for, self._hops),
            user_agent=headers.get("user-agent", ""),
            attempt_id=headers.get("x-refresh-id"),
        )

    async def admit(self, headers: dict[str, str], visitor: Visitor, rule: Rule) -> tuple[Proof, Caller]:
        """Tell who opens a stream, for whom, and see that they may; also return what to look at again.

        Raises:
            Unauthenticated: nobody, or nobody any more.
            TooMany: a key is refused, as were many from the same network before.
            Denied: they may not.
            NotFound, Unmet: there is nobody to act for.
        """
        credential = _credential(headers.get("authorization", ""))
        caller = await self._allowed(await self._caller(credential, headers, visitor), headers, rule)
        return Proof(credential, caller.user_id if "x-act-as" in headers else None, rule), caller

    async def _look_again(self, streams: Sequence[Stream[Proof]]) -> None:
        """End the streams whose identity is not good any more. All are looked up together."""
        proofs = [stream.proof for stream in streams]
        await self._authenticator.renew(
            (proof.credential for proof in proofs),
            (proof.acts_for for proof in proofs if proof.acts_for),
            older_than=RENEWED_SECONDS,
        )
        for number, stream in enumerate(streams):
            if number % CHECKED_AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                await self._look_at(stream.proof)
            except Unavailable:
                continue  # nobody knows; the stream goes on
            except Fault as fault:
                stream.end(fault)

    async def _look_at(self, proof: Proof) -> None:
        identity = await self._authenticator.identify(proof.credential)
        proof.rule.check(identity)
        if proof.acts_for:
            await self._authenticator.act(_able_to_act(identity, proof.rule), proof.acts_for)

    async def _allowed(self, caller: Caller, headers: dict[str, str], rule: Rule) -> Caller:
        rule.check(caller.identity)
        return await self._acting(caller, headers["x-act-as"], rule) if "x-act-as" in headers else caller

    async def _caller(self, credential: str, headers: dict[str, str], visitor: Visitor) -> Caller:
        try:
            identity = await self._authenticator.identify(credential)
        except Unauthenticated:
            if self._limiter and credential.startswith(secret.PREFIX):
                # Counted only now, so that a good key is never refused because of a neighbour's bad ones.
                await self._limiter.admit("key", network(visitor.address))
            raise
        return Caller(
            visitor.request_id,
            visitor.address,
            visitor.user_agent,
            visitor.attempt_id,
            identity,
            headers.get("x-read-after", ""),
        )

    async def _acting(self, caller: Caller, user_id: str, rule: Rule) -> Caller:
        able = _able_to_act(caller.identity, rule)
        return replace(caller, identity=await self._authenticator.act(able, identifier(user_id, "x-act-as")))


def _audited(handler: Method) -> Method:
    async def handled(request: Message, visitor: Any) -> Message:
        actor_id = visitor.actor_id if isinstance(visitor, Caller) else None
        with audit.origin(audit.Origin("rpc", visitor.request_id, visitor.address, visitor.user_agent, actor_id)):
            return await handler(request, visitor)

    return handled


def _traced(
    method: MethodDescriptor, behaviour: Callable[[bytes, Context, dict[str, str]], Awaitable[T]]
) -> Callable[[bytes, Context], Awaitable[T]]:
    service = method.containing_service.full_name
    name = f"{service}/{method.name}"
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method.name}

    async def traced(data: bytes, context: Context) -> T:
        headers = _headers(context)
        with tracing.serve(name, headers, attributes):
            return await behaviour(data, context, headers)

    return traced


def _able_to_act(identity: Identity, rule: Rule) -> Identity:
    if rule.admin or not identity.may_act:
        raise Denied("Only a service account with the scope admin may act for a user.", reason="ACT_AS_DENIED")
    return identity


def _credential(authorization: str) -> str:
    """What stands behind "Bearer"."""
    scheme, _, credential = authorization.partition(" ")
    if scheme.lower() != "bearer" or not credential:
        raise Unauthenticated("Sign in first: the request carries no access token and no key.")
    if "," in credential:
        # Which of them counts is nothing to guess about.
        raise Unauthenticated("The request carries two identities.", reason="SEVERAL_IDENTITIES")
    return credential.strip()


def _who(visitor: Visitor) -> dict[str, str | None]:
    """Who it was, for the log: the user, and where they differ the service account that acted and the key."""
    if not isinstance(visitor, Caller):
        return {"user_id": None}
    identity = visitor.identity
    who: dict[str, str | None] = {"user_id": str(identity.user_id)}
    if identity.key_id:
        who["key_id"] = str(identity.key_id)
    if identity.actor_id != identity.user_id:
        who["actor_id"] = str(identity.actor_id)
    return who


@lru_cache(maxsize=4096)  # all calls of a connection have the same arguments
def _address(peer: str, forwarded_for: str | None, hops: int) -> str:
    return client_address(peer, forwarded_for, hops)


def _headers(context: Context) -> dict[str, str]:
    # Text only. The values of a key that is sent twice are joined (RFC 9110 §5.3), so two tokens are not a valid one.
    headers: dict[str, str] = {}
    for key, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def _time_left(context: Context) -> float:
    # The server cancels the handler at the client's deadline, and the driver then asks PostgreSQL to end the statement.
    # A second cancellation at the same instant would interrupt that request, so ours comes a little later. It is only
    # there in case the first one does not come.
    remaining = context.time_remaining()
    return DEFAULT_DEADLINE if remaining is None else remaining + BACKSTOP


def _parsed(parse: Callable[[bytes], Message], data: bytes, name: str) -> Message:
    if len(data) > MAX_MESSAGE_BYTES and name not in FILES:
        raise TooLarge(f"Received message larger than max ({len(data)} vs. {MAX_MESSAGE_BYTES})")
    try:
        return parse(data)
    except DecodeError:
        raise Malformed("The request is not a message of the method's type.") from None


def _fault(error: Exception, request_id: str) -> Fault | None:
    if isinstance(error, Fault):
        return error
    if isinstance(error, TimeoutError):
        return DeadlineExceeded("The deadline passed before there was an answer.")
    # The caller is told only the request id, which leads to this line of the log.
    _log.error("unexpected", request_id=request_id, exc_info=error)
    return None


async def _abort(context: Context, fault: Fault | None, request_id: str) -> NoReturn:
    answer = status(fault, request_id)
    trailers = ((DETAILS_KEY, answer.SerializeToString()), ("x-request-id", request_id))
    await context.abort(status_code(fault), answer.message, trailers)


@lru_cache(maxsize=4096)
def _peer_address(peer: str) -> str:
    # gRPC writes a peer as ipv4:192.0.2.1:50000 or ipv6:%5B2001:db8::1%5D:50000.
    kind, _, rest = peer.partition(":")
    if kind not in {"ipv4", "ipv6"}:
        return ""
    return rest.rpartition(":")[0].removeprefix("%5B").removesuffix("%5D").removeprefix("[").removesuffix("]")
