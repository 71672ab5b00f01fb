"""A server of grpcio (its core is in C) whose messages are plain bytes. Prints the port it listens on; ends by a signal."""
import concurrent.futures
import threading

import grpc


class Echo(grpc.GenericRpcHandler):
    def __init__(self):
        self.cancelled = 0
        self.changed = threading.Condition()

    def service(self, details):
        handlers = {
            "/echo.Echo/Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "/echo.Echo/Count": grpc.unary_stream_rpc_method_handler(self.count),
            "/echo.Echo/Join": grpc.stream_unary_rpc_method_handler(self.join),
            "/echo.Echo/Talk": grpc.stream_stream_rpc_method_handler(self.talk),
            "/echo.Echo/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "/echo.Echo/Hang": grpc.unary_stream_rpc_method_handler(self.hang),
            "/echo.Echo/Cancelled": grpc.unary_unary_rpc_method_handler(self.count_cancelled),
        }
        return handlers.get(details.method)

    def unary(self, request, context):
        asked = context.invocation_metadata()
        context.send_initial_metadata([("echo-" + key, value) for key, value in asked if key.startswith("x-")])
        context.set_trailing_metadata([("trailing-" + key, value) for key, value in asked if key.startswith("x-")])
        if ("answer-with", "gzip") in [(key, value) for key, value in asked]:
            context.set_compression(grpc.Compression.Gzip)
        return request

    def count(self, request, context):
        for number in range(int(request)):
            yield str(number).encode()

    def join(self, requests, context):
        return b"".join(requests)

    def talk(self, requests, context):
        for request in requests:
            yield request

    def fail(self, request, context):
        context.set_trailing_metadata([("grpc-status-details-bin", request)])
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "erst zählen, dann prüfen: 100 % ✓\n\tzweite Zeile")

    def hang(self, request, context):
        """Answers at once, and then only ends when the caller does not wait any more."""
        ended = threading.Event()

        def count():
            with self.changed:
                self.cancelled += 1
                self.changed.notify_all()
            ended.set()

        # Not behind the yield: grpcio drops a generator whose caller leaves before it is asked for its next answer.
        context.add_callback(count)
        yield b"begun"
        ended.wait()

    def count_cancelled(self, request, context):
        """Answers when so many calls of Hang have ended."""
        with self.changed:
            self.changed.wait_for(lambda: self.cancelled >= int(request), timeout=10)
            return str(self.cancelled).encode()


server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=16))
server.add_generic_rpc_handlers((Echo(),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
