"""Which RPC needs what: a key's scope, a person, an admin. Every RPC with an identity stands here, or cannot be served.

A person who has signed in may do everything of their own. A key may do what one of its scopes allows, and never what
would let it outlive its own end: make keys, change the password, end sessions or the account.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.descriptor import MethodDescriptor

from appointments.auth.identity import Identity
from appointments.auth.keys import ADMIN, READ, RESOURCES, WRITE
from appointments.shared.errors import Denied


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call an RPC. ``scopes``: a key needs one of them, the first of which is named if it has none."""

    scopes: tuple[str, ...] = ()
    keys: bool = True
    """Whether a key may at all. A rule without scopes is then for every key."""
    admin: bool = False
    """Whether only admins may, and nobody who acts for a user."""

    @property
    def writes(self) -> bool:
        """Whether the RPC changes what reads show: no scope of reading is enough for it."""
        return READ not in self.scopes

    def check(self, identity: Identity) -> None:
        """Let a caller pass.

        Raises:
            Denied: a key may not (KEY_NOT_ALLOWED), or lacks the scope (MISSING_SCOPE); not an admin (NOT_AN_ADMIN).
        """
        if identity.scopes is not None:
            if not self.keys:
                raise Denied("A key may not do this; sign in as a person.", reason="KEY_NOT_ALLOWED")
            if self.scopes and identity.scopes.isdisjoint(self.scopes):
                needed = self.scopes[0]
                raise Denied(f"The key lacks the scope {needed}.", reason="MISSING_SCOPE", metadata={"scope": needed})
        if self.admin and not identity.is_admin:
            raise Denied("Only admins may do this.", reason="NOT_AN_ADMIN")


READS = Rule((READ, WRITE))
WRITES = Rule((WRITE,))
SEES_RESOURCES = Rule((READ, WRITE, RESOURCES))
CHANGES_RESOURCES = Rule((RESOURCES,))
ANY_KEY = Rule()
PEOPLE = Rule(keys=False)
ADMINS = Rule((ADMIN,), admin=True)
ADMIN_PEOPLE = Rule(keys=False, admin=True)

RULES: dict[str, Mapping[str, Rule]] = {
    "appointments.v1.AppointmentService": {
        "CreateAppointment": WRITES,
        "ConfirmAppointment": WRITES,
        "GetAppointment": READS,
        "ListAppointments": READS,
        "UpdateAppointment": WRITES,
        "DeleteAppointment": WRITES,
        "UndeleteAppointment": WRITES,
        "ImportAppointments": WRITES,
    },
    "appointments.v1.SeriesService": {
        "CreateSeries": WRITES,
        "GetSeries": READS,
        "ListSeries": READS,
        "UpdateSeries": WRITES,
        "DeleteSeries": WRITES,
        "UndeleteSeries": WRITES,
    },
    "appointments.v1.InvitationService": {
        "RespondToInvitation": WRITES,
        "ListOpenInvitations": READS,
    },
    "appointments.v1.ResourceService": {
        "CreateResource": CHANGES_RESOURCES,
        "GetResource": SEES_RESOURCES,
        "ListResources": SEES_RESOURCES,
        "UpdateResource": CHANGES_RESOURCES,
        "DeleteResource": CHANGES_RESOURCES,
        "UndeleteResource": CHANGES_RESOURCES,
        "SetResourceAccess": CHANGES_RESOURCES,
        "ListResourceAccess": CHANGES_RESOURCES,
    },
    "appointments.v1.AvailabilityService": {
        "QueryFreeBusy": READS,
        "SearchSlots": READS,
    },
    "appointments.v1.ChangeService": {
        "ListChanges": READS,
        "WatchChanges": READS,
    },
    "appointments.v1.WebhookService": {
        "CreateWebhook": WRITES,
        "ListWebhooks": READS,
        "GetWebhook": READS,
        "UpdateWebhook": WRITES,
        "DeleteWebhook": WRITES,
        "RotateSecret": WRITES,
        "Ping": WRITES,
        "ListDeliveries": READS,
        "Redeliver": WRITES,
    },
    "appointments.v1.AccountService": {
        "GetCurrentUser": ANY_KEY,
        "UpdateCurrentUser": WRITES,
        "ListSessions": PEOPLE,
        "RevokeSession": PEOPLE,
        "ChangePassword": PEOPLE,
        "RequestEmailVerification": PEOPLE,
        "ChangeEmail": PEOPLE,
        "DeleteAccount": PEOPLE,
    },
    "appointments.v1.FeedService": {
        "CreateFeed": PEOPLE,
        "ListFeeds": PEOPLE,
        "DeleteFeed": PEOPLE,
    },
    "appointments.v1.KeyService": {
        "CreateKey": PEOPLE,
        "ListKeys": PEOPLE,
        "RevokeKey": PEOPLE,
    },
    "appointments.v1.AdminService": {
        "CreateUser": ADMINS,
        "ListUsers": ADMINS,
        "GetUser": ADMINS,
        "UpdateUser": ADMINS,
        "DeleteUser": ADMINS,
        "CreateServiceAccount": ADMIN_PEOPLE,
    },
}


def rule_of(method: MethodDescriptor) -> Rule:
    """The rule of an RPC.

    Raises:
        LookupError: it has none.
    """
    service = method.containing_service.full_name
    try:
        return RULES[service][method.name]
    except KeyError:
        raise LookupError(f"{service}.{method.name} has no rule in api/scopes.py: say who may call it") from None
