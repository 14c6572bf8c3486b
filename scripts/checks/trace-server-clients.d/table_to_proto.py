"""Prints a .proto file made of the tables in docs/trace-server.md: the documentation is what the clients are built from.

table_to_proto.py < docs/trace-server.md > trace_server.proto
"""

import re
import sys

PACKAGE = "k8scpdt.mergelog.v1"
TYPES = {
    "Timestamp": "google.protobuf.Timestamp",
    "Empty": "google.protobuf.Empty",
}


def rows(text, heading):
    """The cells of the table under a heading."""
    section = text.split(f"\n### {heading}\n", 1)[1].split("\n#", 1)[0]
    lines = [line.strip() for line in section.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip().strip("`") for cell in line.strip("|").split("|")]


def main():
    text = sys.stdin.read()
    out = [
        'syntax = "proto3";',
        f"package {PACKAGE};",
        'import "google/protobuf/empty.proto";',
        'import "google/protobuf/timestamp.proto";',
        "service MergelogService {",
    ]
    for call, request, answer, *_ in rows(text, "Calls"):
        out.append(f"  rpc {call}({TYPES.get(request, request)}) returns ({TYPES.get(answer, answer)});")
    out.append("}")
    for name, fields in rows(text, "Messages"):
        is_enum = name.startswith("enum ")
        out.append(f"{name if is_enum else 'message ' + name} {{")
        for field in fields.split(","):
            field = re.sub(r"\b(Timestamp)\b", lambda match: TYPES[match[1]], field.strip().strip("`"))
            out.append(f"  {field};")
        out.append("}")
    print("\n".join(out))


main()
