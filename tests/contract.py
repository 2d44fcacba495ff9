"""Everything that the contract says there is, from the generated code: a new file of proto/ is found by itself."""

from importlib import import_module
from pathlib import Path

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from appointments import v1


def services() -> list[ServiceDescriptor]:
    """Every service of every file."""
    folder = Path(v1.__file__).parent
    names = sorted(path.stem for path in folder.glob("*_pb2.py"))
    files = [import_module(f"{v1.__name__}.{name}").DESCRIPTOR for name in names]
    return [service for file in files for service in file.services_by_name.values()]


METHODS: list[MethodDescriptor] = [method for service in services() for method in service.methods]
