"""
Cases of gRPC's interoperability tests (grpc/doc/interop-test-descriptions.md) as a client of grpcio. Runs all of them against the target,
which its calls name in x-target, and prints `ok CASE` behind each that holds.

    interop_client.py ADDRESS TARGET [compressed]
"""
import queue
import sys
import traceback

import grpc

from interop_messages import INITIAL, TRAILING, body_of, decode, encode, first, payload

REQUEST_SIZES = (27182, 8, 1828, 45904)
REPLY_SIZES = (31415, 9, 2653, 58979)
PATIENCE = 20


def same(found, wanted):
    assert found == wanted, f"found {found!r:.2000}, wanted {wanted!r:.2000}"


class Caller:
    def __init__(self, channel, target):
        self.channel = channel
        self.metadata = [("x-target", target)]

    def method(self, kind, name, service="TestService"):
        return getattr(self.channel, kind)(f"/grpc.testing.{service}/{name}")

    def unary(self, request, name="UnaryCall", metadata=(), **options):
        return self.method("unary_unary", name).with_call(request, timeout=PATIENCE, metadata=self.metadata + list(metadata), **options)

    def duplex(self, requests, timeout=PATIENCE, metadata=()):
        return self.method("stream_stream", "FullDuplexCall")(requests, timeout=timeout, metadata=self.metadata + list(metadata))

    def input(self, requests, **options):
        return self.method("stream_unary", "StreamingInputCall")(requests, timeout=PATIENCE, metadata=self.metadata, **options)


def output_request(size, request_size=0):
    return encode(_2=encode(_1=size), _3=payload(request_size))


def fails_with(code, details, work):
    try:
        work()
    except grpc.RpcError as error:
        same(error.code(), code)
        if details is not None:
            same(error.details(), details)
        return
    raise AssertionError("it did not fail")


def empty_unary(caller):
    same(caller.unary(b"", "EmptyCall")[0], b"")


def large_unary(caller, **options):
    reply, _ = caller.unary(encode(_2=314159, _3=payload(271828)), **options)
    same(body_of(reply), bytes(314159))


def client_streaming(caller, **options):
    reply = caller.input((encode(_1=payload(size)) for size in REQUEST_SIZES), **options)
    same(first(decode(reply), 1, 0), 74922)


def server_streaming(caller):
    request = encode(_2=[encode(_1=size) for size in REPLY_SIZES])
    replies = caller.method("unary_stream", "StreamingOutputCall")(request, timeout=PATIENCE, metadata=caller.metadata)
    same([len(body_of(reply)) for reply in replies], list(REPLY_SIZES))


def ping_pong(caller):
    requests = queue.SimpleQueue()
    replies = caller.duplex(iter(requests.get, None))
    for request_size, size in zip(REQUEST_SIZES, REPLY_SIZES):
        requests.put(output_request(size, request_size))
        same(len(body_of(next(replies))), size)
    requests.put(None)
    same(list(replies), [])


def empty_stream(caller):
    same(list(caller.duplex(iter(()))), [])


def timeout_on_sleeping_server(caller):
    requests = queue.SimpleQueue()
    requests.put(encode(_3=payload(27182)))
    replies = caller.duplex(iter(requests.get, None), timeout=0.02)
    fails_with(grpc.StatusCode.DEADLINE_EXCEEDED, None, lambda: next(replies))
    requests.put(None)


def cancel_after_begin(caller):
    requests = queue.SimpleQueue()
    call = caller.method("stream_unary", "StreamingInputCall").future(iter(requests.get, None), metadata=caller.metadata)
    call.cancel()
    requests.put(None)
    assert call.cancelled()
    same(call.code(), grpc.StatusCode.CANCELLED)


def cancel_after_first_response(caller):
    requests = queue.SimpleQueue()
    requests.put(output_request(31415, 27182))
    replies = caller.duplex(iter(requests.get, None))
    same(len(body_of(next(replies))), 31415)
    replies.cancel()
    requests.put(None)
    fails_with(grpc.StatusCode.CANCELLED, None, lambda: next(replies))


def status_code_and_message(caller):
    message = "test status message"
    request = encode(_7=encode(_1=2, _2=message))
    fails_with(grpc.StatusCode.UNKNOWN, message, lambda: caller.unary(request))
    fails_with(grpc.StatusCode.UNKNOWN, message, lambda: list(caller.duplex(iter([request]))))


def special_status_message(caller):
    message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
    fails_with(grpc.StatusCode.UNKNOWN, message, lambda: caller.unary(encode(_7=encode(_1=2, _2=message))))


def custom_metadata(caller):
    initial, trailing = (INITIAL, "test_initial_metadata_value"), (TRAILING, b"\xab\xab\xab")
    _, one = caller.unary(encode(_2=314159, _3=payload(271828)), metadata=[initial, trailing])
    stream = caller.duplex(iter([output_request(314159, 271828)]), metadata=[initial, trailing])
    same([len(body_of(reply)) for reply in stream], [314159])
    for call in (one, stream):
        assert initial in [tuple(field) for field in call.initial_metadata()]
        assert trailing in [tuple(field) for field in call.trailing_metadata()]


def unimplemented_method(caller):
    fails_with(grpc.StatusCode.UNIMPLEMENTED, None, lambda: caller.unary(b"", "UnimplementedCall"))


def unimplemented_service(caller):
    method = caller.method("unary_unary", "UnimplementedCall", "UnimplementedService")
    fails_with(grpc.StatusCode.UNIMPLEMENTED, None, lambda: method(b"", timeout=PATIENCE, metadata=caller.metadata))


def client_compressed_unary(caller):
    large_unary(caller, compression=grpc.Compression.Gzip)


def client_compressed_streaming(caller):
    client_streaming(caller, compression=grpc.Compression.Gzip)


def soak(caller):
    for _ in range(20):
        large_unary(caller)


CASES = (
    empty_unary,
    large_unary,
    client_streaming,
    server_streaming,
    ping_pong,
    empty_stream,
    timeout_on_sleeping_server,
    cancel_after_begin,
    cancel_after_first_response,
    status_code_and_message,
    special_status_message,
    custom_metadata,
    unimplemented_method,
    unimplemented_service,
    soak,
)
# Where the server knows gzip.
COMPRESSED = (client_compressed_unary, client_compressed_streaming)

address, target, *more = sys.argv[1:]
failed = False
with grpc.insecure_channel(address) as opened:
    for case in (*CASES, *(COMPRESSED if "compressed" in more else ())):
        try:
            case(Caller(opened, target))
            print("ok", case.__name__, flush=True)
        except BaseException:
            failed = True
            print("failed", case.__name__, file=sys.stderr)
            traceback.print_exc()
sys.exit(1 if failed else 0)
