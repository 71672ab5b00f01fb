"""gRPC's TestService (grpc/doc/interop-test-descriptions.md) on grpcio. Prints the port it listens on; ends by a signal."""
import concurrent.futures

import grpc

from interop_messages import INITIAL, TRAILING, decode, encode, first, payload

CODES = {code.value[0]: code for code in grpc.StatusCode}


def echo_metadata(context):
    for key, value in context.invocation_metadata():
        if key == INITIAL:
            context.send_initial_metadata([(key, value)])
        elif key == TRAILING:
            context.set_trailing_metadata([(key, value)])


def fail_if_asked(request, context):
    status = decode(first(request, 7, b""))
    if first(status, 1, 0):
        context.abort(CODES[first(status, 1, 0)], first(status, 2, b"").decode())


def answers(request):
    for parameters in request.get(2, []):
        yield encode(_1=payload(first(decode(parameters), 1, 0)))


def unary(message, context):
    request = decode(message)
    echo_metadata(context)
    fail_if_asked(request, context)
    return encode(_1=payload(first(request, 2, 0)))


def input_call(messages, context):
    return encode(_1=sum(len(first(decode(first(decode(message), 1, b"")), 2, b"")) for message in messages))


def full_duplex(messages, context):
    echo_metadata(context)
    for message in messages:
        request = decode(message)
        fail_if_asked(request, context)
        yield from answers(request)


def half_duplex(messages, context):
    for message in list(messages):
        yield from answers(decode(message))


METHODS = {
    "EmptyCall": grpc.unary_unary_rpc_method_handler(lambda message, context: b""),
    "UnaryCall": grpc.unary_unary_rpc_method_handler(unary),
    "StreamingOutputCall": grpc.unary_stream_rpc_method_handler(lambda message, context: answers(decode(message))),
    "StreamingInputCall": grpc.stream_unary_rpc_method_handler(input_call),
    "FullDuplexCall": grpc.stream_stream_rpc_method_handler(full_duplex),
    "HalfDuplexCall": grpc.stream_stream_rpc_method_handler(half_duplex),
}


class TestService(grpc.GenericRpcHandler):
    def service(self, details):
        service, _, method = details.method.removeprefix("/").partition("/")
        return METHODS.get(method) if service == "grpc.testing.TestService" else None


server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=16))
server.add_generic_rpc_handlers((TestService(),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
