"""A client of the trace server in Python: posts what client.go posts, and checks what the server answers.

client.py post ADDRESS NAME GROUPS ACKNOWLEDGED
client.py check ADDRESS GROUPS NAME...

The generated modules trace_server_pb2 and trace_server_pb2_grpc must be on PYTHONPATH.
"""

import concurrent.futures
import sys
import time

import grpc
import trace_server_pb2 as messages
import trace_server_pb2_grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp

BATCH, WORKERS = 25, 4
PATIENCE_SECONDS, PAUSE_SECONDS = 300, 0.05


def cpid(name, group, member):
    return messages.CPID(cpid=f"{name}-{group:08d}-{member}")


def mergelogs(name, group):
    """The mergelogs of a group; merges first, so that they arrive before their sources."""

    def made(cause, member, sources=""):
        return messages.Mergelog(
            new_cpid=cpid(name, group, member),
            source_cpids=[cpid(name, group, source) for source in sources],
            time=Timestamp(seconds=1_700_000_000 + group, nanos=5),
            cause_type=cause,
            cause_message="a reconcile",
            by=name,
        )

    return [
        made(messages.CAUSE_TYPE_MERGE, "d", "bc"),
        made(messages.CAUSE_TYPE_MERGE, "c", "ab"),
        made(messages.CAUSE_TYPE_NEW_CHANGE, "a"),
        made(messages.CAUSE_TYPE_NEW_CHANGE, "b"),
    ]


def span(name, group):
    return messages.Span(
        cpid=cpid(name, group, "d"),
        start_time=Timestamp(seconds=1_700_000_000 + group),
        end_time=Timestamp(seconds=1_700_000_001 + group),
        service=name,
        object_kind="Pod",
        object_name="web",
        message="syncPod",
        span_id="1",
        parent_id="0",
    )


def insist(call, request):
    """Repeats a call for as long as the server is not there. Posting the same twice does no harm."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call(request, timeout=60)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)


def post(server, name, groups, acknowledged):
    def post_batch(start):
        chosen = range(start, min(start + BATCH, groups))
        posted = [mergelog for group in chosen for mergelog in mergelogs(name, group)]
        insist(server.PostMergelogs, messages.MergelogRequest(mergelogs=posted))
        spans = [span(name, group) for group in chosen if group % 100 == 0]
        if spans:
            insist(server.PostSpans, messages.PostSpansRequest(spans=spans))
        return len(posted)

    with open(acknowledged, "a", buffering=1) as file, concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        pending = [pool.submit(post_batch, start) for start in range(0, groups, BATCH)]
        for done in concurrent.futures.as_completed(pending):
            print(done.result(), file=file)


def check(server, groups, names):
    found = server.GetAllMergelogs(Empty()).mergelogs
    by_cpid = {mergelog.new_cpid.cpid: mergelog for mergelog in found}
    expected = 4 * groups * len(names)
    assert len(found) == expected, f"{len(found)} mergelogs instead of {expected}"
    assert len(by_cpid) == expected, "some are there twice"
    for name in names:
        for group in range(groups):
            for posted in mergelogs(name, group):
                assert by_cpid.get(posted.new_cpid.cpid) == posted, f"{posted} is lost or changed"
        for group in (0, groups - 1):
            for of, members in {"a": "acd", "b": "bcd", "d": "d", "x": ""}.items():
                answer = server.GetRelevantMergelogs(cpid(name, group, of))
                descendants = sorted(mergelog.new_cpid.cpid for mergelog in answer.mergelogs)
                assert descendants == [cpid(name, group, member).cpid for member in members], descendants
        assert list(server.GetRelevantSpans(cpid(name, 0, "a")).spans) == [span(name, 0)]
    print(f"Python: all {expected} mergelogs are there once, as posted")


def main():
    command, address, *rest = sys.argv[1:]
    # The default, 4 MiB, is less than all mergelogs.
    with grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        server = trace_server_pb2_grpc.MergelogServiceStub(channel)
        if command == "post":
            post(server, rest[0], int(rest[1]), rest[2])
        else:
            check(server, int(rest[0]), rest[1:])


main()
