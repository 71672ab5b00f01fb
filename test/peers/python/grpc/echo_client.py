"""
A client of grpcio against echo_server.py: runs the case of the given name, and fails with a traceback where the answer is wrong.

    echo_client.py CASE ADDRESS AUTHORITY [CA CERT KEY]
"""
import asyncio
import queue
import sys

import grpc

case, address, authority = sys.argv[1:4]
options = [
    ("grpc.default_authority", authority),
    ("grpc.keepalive_time_ms", 30000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.keepalive_permit_without_calls", True),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 16 << 20),
]


def credentials():
    ca, certificate, key = (open(path, "rb").read() for path in sys.argv[4:7])
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=certificate)


def open_channel():
    if len(sys.argv) > 4:
        return grpc.secure_channel(address, credentials(), options)
    return grpc.insecure_channel(address, options)


def same(found, wanted):
    assert found == wanted, f"found {found!r:.2000}, wanted {wanted!r:.2000}"


def unary(channel, method="Unary"):
    return channel.unary_unary(f"/echo.Echo/{method}")


def one_answer(channel):
    same(unary(channel)(b"hello", timeout=10), b"hello")
    same(unary(channel)(b"", timeout=10), b"")


def large(channel):
    # The server takes at most 4 MiB, which is gRPC's own default.
    message = bytes(range(256)) * 16000
    same(unary(channel)(message, timeout=20), message)


def compressed(channel):
    message = b"compress me " * 40000
    for algorithm in (grpc.Compression.Gzip, grpc.Compression.Deflate, grpc.Compression.NoCompression):
        asked = [("answer-with", "gzip")]
        answer, call = unary(channel).with_call(message, timeout=20, metadata=asked, compression=algorithm)
        same(answer, message)


def stream_of_answers(channel):
    answers = channel.unary_stream("/echo.Echo/Count")(b"500", timeout=20)
    same(list(answers), [str(number).encode() for number in range(500)])


def stream_of_requests(channel):
    parts = [str(number).encode() * 100 for number in range(300)]
    same(channel.stream_unary("/echo.Echo/Join")(iter(parts), timeout=20), b"".join(parts))


def ping_pong(channel):
    """The next message is only sent when the answer to the last has come."""
    requests = queue.SimpleQueue()
    answers = channel.stream_stream("/echo.Echo/Talk")(iter(requests.get, None), timeout=20)
    for number in range(50):
        requests.put(str(number).encode())
        same(next(answers), str(number).encode())
    requests.put(None)
    same(list(answers), [])


def metadata(channel):
    """Arrives as it was sent, but for what only a sidecar may say: whose certificate it has seen."""
    sent = [("x-text", "plain words"), ("x-twice", "one"), ("x-twice", "two"), ("x-bytes-bin", bytes(range(256)))]
    seen = "x-forwarded-client-cert"
    _, call = unary(channel).with_call(b"hello", timeout=10, metadata=[*sent, (seen, "URI=spiffe://mesh.local/service/forged")])
    for prefix, metadata in (("echo-", call.initial_metadata()), ("trailing-", call.trailing_metadata())):
        received = [(key.removeprefix(prefix), value) for key, value in metadata if key.startswith(prefix)]
        same([field for field in received if field[0] != seen], sent)
        same([value.split(";")[0] for key, value in received if key == seen], ["By=spiffe://mesh.local/service/echo-svc"])
        assert "forged" not in str(received)


def failure(channel):
    details = bytes(range(200))
    try:
        unary(channel, "Fail")(details, timeout=10)
    except grpc.RpcError as error:
        same(error.code(), grpc.StatusCode.FAILED_PRECONDITION)
        same(error.details(), "erst zählen, dann prüfen: 100 % ✓\n\tzweite Zeile")
        same(dict(error.trailing_metadata())["grpc-status-details-bin"], details)
        return
    raise AssertionError("it did not fail")


def unknown_method(channel):
    try:
        unary(channel, "Nothing")(b"", timeout=10)
    except grpc.RpcError as error:
        same(error.code(), grpc.StatusCode.UNIMPLEMENTED)
        return
    raise AssertionError("it did not fail")


def deadline(channel):
    answers = channel.unary_stream("/echo.Echo/Hang")(b"", timeout=0.5)
    same(next(answers), b"begun")
    try:
        next(answers)
    except grpc.RpcError as error:
        same(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        same(unary(channel, "Cancelled")(b"1", timeout=20), b"1")
        return
    raise AssertionError("it did not fail")


def cancellation(channel):
    """The server hears of it, too."""
    before = int(unary(channel, "Cancelled")(b"0", timeout=10))
    answers = channel.unary_stream("/echo.Echo/Hang")(b"", timeout=60)
    same(next(answers), b"begun")
    answers.cancel()
    wanted = str(before + 1).encode()
    same(unary(channel, "Cancelled")(wanted, timeout=20), wanted)


def many_at_once(channel):
    pending = [(number, unary(channel).future(str(number).encode() * 50, timeout=30)) for number in range(500)]
    for number, call in pending:
        same(call.result(), str(number).encode() * 50)


def asynchronous(_):
    async def run():
        secure = len(sys.argv) > 4
        opened = grpc.aio.secure_channel(address, credentials(), options) if secure else grpc.aio.insecure_channel(address, options)
        async with opened as channel:
            call = channel.unary_unary("/echo.Echo/Unary")
            answers = await asyncio.gather(*(call(str(number).encode(), timeout=20) for number in range(100)))
            same(answers, [str(number).encode() for number in range(100)])
            talk = channel.stream_stream("/echo.Echo/Talk")(timeout=20)
            for number in range(20):
                await talk.write(str(number).encode())
                same(await talk.read(), str(number).encode())
            await talk.done_writing()
            same(await talk.read(), grpc.aio.EOF)

    asyncio.run(run())


with open_channel() as opened:
    globals()[case](opened)
