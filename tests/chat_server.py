"""A scripted OpenAI-compatible server, over real HTTP: answers as a model does, after the faults asked for."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ChatServer:
    """Subclass it with ``contents``. ``faults`` come first, one a request: a status, ``cut``, ``html`` or ``slow``."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.dies_after = sys.maxsize
        """Answers after which it cuts every connection."""
        self.bodies: list[dict] = []
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer.handle(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def contents(self, body: dict, fault: str) -> list[str]:
        """Return the texts that are answered to a request; ``fault`` is one that this class does not know."""
        raise NotImplementedError

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def handle(self, request: Any) -> None:
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        with self._lock:
            self.bodies.append(body)
            fault = self.faults.pop(0) if self.faults else ""
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        time.sleep(0.02)
        with self._lock:
            self._at_once -= 1
        if fault == "cut" or self._is_dead():
            request.connection.shutdown(socket.SHUT_RDWR)
            request.close_connection = True
        elif fault == "html":
            self._send(request, 200, "<html>Hello</html>")
        elif fault.isdigit():
            self._send(request, int(fault), {"error": {"message": f"fault {fault}"}})
        else:
            if fault == "slow":
                time.sleep(3)
            self._send(request, 200, self._completion(self.contents(body, fault)))

    def _is_dead(self) -> bool:
        with self._lock:
            self.dies_after -= 1
            return self.dies_after < 0

    @staticmethod
    def _completion(contents: list[str]) -> dict:
        choices = [
            {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            for i, text in enumerate(contents)
        ]
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        kind = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
        return {**kind, "choices": choices, "usage": usage}

    @staticmethod
    def _send(request: Any, status: int, answer: dict | str) -> None:
        data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        request.send_response(status)
        request.send_header("Content-Type", "text/html" if isinstance(answer, str) else "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.send_header("Retry-After-Ms", "10")
        request.end_headers()
        request.wfile.write(data)
