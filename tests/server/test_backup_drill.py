"""The backup drill does what it says, and what a restore elsewhere does to tokens and cursors."""

import importlib.util
import os
import subprocess
import sys
from types import ModuleType

import grpc
import psycopg
import pytest

from appointments.db import embedded
from appointments.v1 import account_pb2, account_pb2_grpc, changes_pb2, changes_pb2_grpc
from tests import service
from tests.clients import details, person
from tests.service import ROOT


def drill(source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    return subprocess.run(
        [sys.executable, "scripts/drill.py", *arguments],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": source},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )


def script() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("drill", ROOT / "scripts/drill.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["drill"] = module
    spec.loader.exec_module(module)
    return module


async def test_a_restore_elsewhere_keeps_sessions_and_ends_cursors(dsn: str) -> None:
    """Every row is there; tokens work as before, since their secret is the same; cursors say that they have expired."""
    with embedded.scratch() as other:
        with service.start(dsn, {"TRUSTED_PROXY_HOPS": "1"}) as server:
            async with person(server.grpc) as ada:
                changes = changes_pb2_grpc.ChangeServiceStub(ada.channel)
                cursor = (
                    await changes.ListChanges(changes_pb2.ListChangesRequest(), metadata=ada.metadata)
                ).next_cursor
                await ada.create()
                done = drill(dsn, "--into", other.dsn)
        assert (0, "") == (done.returncode, done.stderr)
        assert "The backup is whole.\n" == done.stdout[-21:]
        assert "DIFFERS" not in done.stdout
        with service.start(other.dsn, {"TRUSTED_PROXY_HOPS": "1"}) as server:
            async with grpc.aio.insecure_channel(server.grpc) as channel:
                account = account_pb2_grpc.AccountServiceStub(channel)
                me = await account.GetCurrentUser(account_pb2.GetCurrentUserRequest(), metadata=ada.metadata)
                assert ada.user_id == me.user.id
                changes = changes_pb2_grpc.ChangeServiceStub(channel)
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await changes.ListChanges(changes_pb2.ListChangesRequest(cursor=cursor), metadata=ada.metadata)
                assert "CURSOR_EXPIRED" == details(refused.value)["ErrorInfo"].reason


def test_a_row_that_changed_on_the_way_is_noticed(dsn: str) -> None:
    """Counts alone would not tell."""
    compare, look = script().compare, script().look
    with psycopg.connect(dsn) as connection:
        before = look(connection)
        assert [] == compare(before, look(connection))
        connection.execute("UPDATE schema_migrations SET applied_at = applied_at + interval '1 microsecond'")
        assert ["schema_migrations"] == compare(before, look(connection))
