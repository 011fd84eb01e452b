"""The messages: generated from service.proto, and those of the protocol."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

from server_process import environment

ROOT = Path(__file__).resolve().parents[4]
FOLDER = ROOT / "serving" / "server" / "grpc"

# In processes of their own: two modules with messages of the same names cannot be in one.
FACTS = """
import importlib, sys
from google.protobuf.descriptor_pb2 import FileDescriptorProto
facts = {}
def note(prefix, messages, enums):
    for enum in enums:
        facts.update({f"{prefix}{enum.name}.{value.name}": value.number for value in enum.value})
    for message in messages:
        for field in message.field:
            one_of = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
            kind = (field.number, field.type, field.label, field.type_name, one_of)
            facts[f"{prefix}{message.name}.{field.name}"] = kind
        note(f"{prefix}{message.name}.", message.nested_type, message.enum_type)
for module in sys.argv[1:]:
    file = FileDescriptorProto()
    importlib.import_module(module).DESCRIPTOR.CopyToProto(file)
    note(file.package + ".", file.message_type, file.enum_type)
    for service in file.service:
        for one in service.method:
            kind = (one.input_type, one.output_type, one.client_streaming, one.server_streaming)
            facts[f"{file.package}.{service.name}.{one.name}"] = kind
print(facts)
"""


def facts(*modules: str) -> dict[str, Any]:
    """The names, numbers and types of all fields, values and calls."""
    done = subprocess.run(
        [sys.executable, "-c", FACTS, *modules], capture_output=True, text=True, check=True, cwd=ROOT, env=environment()
    )
    found = ast.literal_eval(done.stdout)
    assert isinstance(found, dict) and len(found) > 100
    return found


def test_the_committed_modules_are_what_is_generated(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT), f"--python_out={tmp_path}",
               f"--pyi_out={tmp_path}", "serving/server/grpc/service.proto"]  # fmt: skip
    subprocess.run(command, check=True, cwd=ROOT)
    for name in ("service_pb2.py", "service_pb2.pyi"):
        assert (FOLDER / name).read_text() == (tmp_path / "serving/server/grpc" / name).read_text(), command


def test_names_numbers_and_types_are_those_of_the_protocol() -> None:
    ours = facts("serving.server.grpc.service_pb2")
    protocol = facts("tritonclient.grpc.service_pb2", "tritonclient.grpc.model_config_pb2")
    assert {name: protocol.get(name) for name in ours} == ours
