"""Who may call which RPC is said for every RPC, and nobody else is let in."""

from uuid import uuid4

import pytest
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from appointments.api.rpc import Policy
from appointments.api.scopes import RULES, Rule, rule_of
from appointments.auth.identity import Identity
from appointments.auth.keys import SCOPES
from appointments.server.app import AUTH
from appointments.shared.errors import Denied
from tests.contract import METHODS, services

PUBLIC = {AUTH.full_name}


def of_the_contract(*, public: bool = False) -> list[MethodDescriptor]:
    """The RPCs that ask who calls."""
    return [each for each in METHODS if (each.containing_service.full_name in PUBLIC) == public]


def test_every_rpc_has_a_rule_and_every_rule_an_rpc() -> None:
    """Of all files of the contract, whether a service is served already or not."""
    said = {f"{service}.{method}" for service, methods in RULES.items() for method in methods}
    assert {method.full_name for method in of_the_contract()} == said


def test_a_service_without_rules_cannot_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server does not start, and says what is missing."""
    monkeypatch.delitem(RULES, "appointments.v1.KeyService")

    class Servicer:
        def __getattr__(self, name: str) -> object:
            return None

    def serve(service: ServiceDescriptor, *, public: bool) -> None:
        Policy(None).register(service, Servicer(), public=public)  # type: ignore[arg-type]

    key_service = next(service for service in services() if service.name == "KeyService")
    with pytest.raises(LookupError, match=r"KeyService\.CreateKey has no rule"):
        serve(key_service, public=False)


def caller(*scopes: str, is_admin: bool = False) -> Identity:
    """A program with a key of these scopes."""
    somebody = uuid4()
    return Identity(somebody, somebody, key_id=uuid4(), scopes=frozenset(scopes), is_admin=is_admin)


Refusal = tuple[str, dict[str, str]] | None


def refusal(rule: Rule, identity: Identity) -> Refusal:
    """Why a rule lets somebody not pass."""
    try:
        rule.check(identity)
    except Denied as denied:
        return denied.reason, denied.metadata
    return None


@pytest.mark.parametrize("method", of_the_contract(), ids=lambda method: method.name)
def test_a_key_needs_the_scope(method: MethodDescriptor) -> None:
    """With each scope alone it is let in or told which one is missing; with all of them it is let in."""
    rule = rule_of(method)
    everything = refusal(rule, caller(*SCOPES, is_admin=True))
    assert (None if rule.keys else ("KEY_NOT_ALLOWED", {})) == everything
    for scope in SCOPES:
        expected: Refusal = everything
        if rule.keys and rule.scopes and scope not in rule.scopes:
            expected = ("MISSING_SCOPE", {"scope": rule.scopes[0]})
        assert expected == refusal(rule, caller(scope, is_admin=True))


@pytest.mark.parametrize("method", of_the_contract(), ids=lambda method: method.name)
def test_a_person_needs_none(method: MethodDescriptor) -> None:
    """Only AdminService is for admins alone."""
    somebody = uuid4()
    expected: Refusal = ("NOT_AN_ADMIN", {}) if method.containing_service.name == "AdminService" else None
    assert expected == refusal(rule_of(method), Identity(somebody, somebody, session_id=uuid4()))
    assert refusal(rule_of(method), Identity(somebody, somebody, session_id=uuid4(), is_admin=True)) is None


def test_reading_is_not_writing() -> None:
    """What each scope is for, written out: a slip in the table shows here."""
    names = {
        scope: {method.name for method in of_the_contract() if scope in rule_of(method).scopes} for scope in SCOPES
    }
    assert names["appointments.read"] <= names["appointments.write"]
    for verb in ("Create", "Update", "Delete", "Undelete", "Set", "Revoke", "Change"):
        assert not any(name.startswith(verb) for name in names["appointments.read"])
    assert {"CreateAppointment", "UpdateAppointment", "DeleteAppointment", "UndeleteAppointment"} <= names[
        "appointments.write"
    ]
    assert {"CreateResource", "UpdateResource", "DeleteResource", "SetResourceAccess"} <= names["resources.write"]
    assert {"CreateUser", "UpdateUser", "DeleteUser", "ListUsers", "GetUser"} == names["admin"]
    barred = {method.name for method in of_the_contract() if not rule_of(method).keys}
    assert {
        *("CreateKey", "ListKeys", "RevokeKey", "CreateServiceAccount"),
        *("ChangePassword", "DeleteAccount", "ListSessions", "RevokeSession"),
    } <= barred
