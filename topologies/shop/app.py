"""The shop: says how many have been here, which redis knows, and which replica answered."""

import http.server
import os
import socket

HOST, _, PORT = os.environ["REDIS"].rpartition(":")


def visitors() -> int:
    """Count one more. RESP is a line each way: INCR answers ":7"."""
    with socket.create_connection((HOST, int(PORT)), timeout=2) as redis:
        redis.sendall(b"INCR visitors\r\n")
        return int(redis.makefile("rb").readline().lstrip(b":"))


class Shop(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        try:
            status, text = 200, f"visitor {visitors()}, served by {socket.gethostname()}\n"
        except OSError as error:
            status, text = 503, f"redis: {error}\n"
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("", 8000), Shop).serve_forever()
