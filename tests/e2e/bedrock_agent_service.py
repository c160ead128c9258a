"""A local server that speaks the wire of Bedrock's agents: ``InvokeAgent`` of ``bedrock-agent-runtime``.

Owns what reaches it and what it says: it checks each request's signature (SigV4, computed anew by botocore from what
came), and answers with real event-stream frames as the test scripted. Each connection has a thread of its own, so a
step may wait for the test. Source: botocore's model ``bedrock-agent-runtime``, and ``eventstream`` of Smithy.
"""

from __future__ import annotations

import base64
import hmac
import json
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final
from urllib.parse import unquote

import trustme
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from motive_core.framing import event_frame, exception_frame

REGION: Final = "eu-central-1"
ACCESS_KEY: Final = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY: Final = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
AGENT: Final = "AGENT12345"
ALIAS: Final = "ALIAS12345"
_DEADLINE_S: Final = 30.0


@dataclass(slots=True)
class Asked:
    """A call as it came. ``body`` is its JSON, ``lost`` is set once its caller has gone."""

    agent: str
    alias: str
    session: str
    body: dict[str, Any]
    connection: int
    headers: dict[str, str]
    lost: threading.Event = field(default_factory=threading.Event)

    @property
    def text(self) -> str:
        """What the user says."""
        return str(self.body.get("inputText", ""))

    @property
    def state(self) -> dict[str, Any]:
        """``sessionState``."""
        return dict(self.body.get("sessionState", {}))


@dataclass(slots=True)
class Event:
    """A frame of the reply."""

    name: str
    payload: Mapping[str, Any]

    def frame(self) -> bytes:
        return event_frame(self.name, json.dumps(self.payload).encode())


@dataclass(slots=True)
class Exceptional(Event):
    """A frame that is an exception: ``throttlingException``."""

    def frame(self) -> bytes:
        return exception_frame(self.name, json.dumps(self.payload).encode())


@dataclass(slots=True)
class Bytes:
    """Bytes in the place of a frame."""

    data: bytes

    def frame(self) -> bytes:
        return self.data


class Wait:
    """Wait for the test, or until the caller has gone. ``reached`` is set when it is waited for."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._go_on = threading.Event()

    def open(self) -> None:
        self._go_on.set()

    def hold(self, asked: Asked, connection: socket.socket) -> bool:
        """Gives whether the caller is still there."""
        self.reached.set()
        for _ in range(int(_DEADLINE_S / 0.01)):
            if self._go_on.wait(0.01):
                return True
            if select.select([connection], [], [], 0)[0]:  # it says no more, so it has gone
                asked.lost.set()
                return False
        raise AssertionError("the test did not let it go on")


@dataclass(slots=True)
class Refuse:
    """An error in the place of a reply."""

    status: int
    name: str
    message: str


class Cut:
    """The connection ends here."""


type Step = Event | Exceptional | Bytes | Wait | Refuse | Cut
type Script = Callable[[Asked], Iterable[Step]]


def chunk(text: str | bytes, *citations: Mapping[str, Any]) -> Event:
    """A piece of the answer."""
    data = text.encode() if isinstance(text, str) else text
    payload: dict[str, Any] = {"bytes": base64.b64encode(data).decode()}
    if citations:
        payload["attribution"] = {"citations": list(citations)}
    return Event("chunk", payload)


def trace(agent: Asked | None = None, **step: Any) -> Event:
    """A trace: ``trace(orchestrationTrace={...})``."""
    return Event("trace", {"agentId": AGENT, "agentAliasId": ALIAS, "sessionId": "s", "trace": step})


def usage(given: int, said: int) -> Event:
    """The trace of a model's step that tells what it spent."""
    told = {"metadata": {"usage": {"inputTokens": given, "outputTokens": said}}, "traceId": "t-0"}
    return trace(orchestrationTrace={"modelInvocationOutput": told})


def citation(text: str, start: int, where: str, passage: str) -> dict[str, Any]:
    """A cited piece of the answer; the service's ``end`` is the last character."""
    span = {"start": start, "end": start + len(text) - 1}
    return {
        "generatedResponsePart": {"textResponsePart": {"text": text, "span": span}},
        "retrievedReferences": [
            {
                "content": {"type": "TEXT", "text": passage},
                "location": {"type": "S3", "s3Location": {"uri": where}},
                "metadata": {"x-amz-bedrock-kb-source-uri": where},
            }
        ],
    }


def return_control(invocation: str, *inputs: Mapping[str, Any]) -> Event:
    """The agent wants something done."""
    return Event("returnControl", {"invocationId": invocation, "invocationInputs": list(inputs)})


def function(group: str, name: str, *parameters: tuple[str, str, str], **more: Any) -> dict[str, Any]:
    """A function to be called; a parameter is its name, type and value."""
    told = [{"name": one, "type": kind, "value": value} for one, kind, value in parameters]
    return {"functionInvocationInput": {"actionGroup": group, "function": name, "parameters": told, **more}}


def echo(asked: Asked) -> Iterable[Step]:
    """An agent that repeats what it was told."""
    yield chunk(f"You said: {asked.text}")


class BedrockAgentService(ThreadingHTTPServer):
    """The service; over TLS if it gets an ``authority``. ``script`` says what happens to a call; it may be changed at
    any time."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, authority: trustme.CA | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._scheme = "http"
        if authority is not None:
            self._scheme = "https"
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1").configure_cert(tls)
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.script: Script = echo
        self.asked: list[Asked] = []
        self.refused: list[str] = []
        """Why signatures were refused."""
        self.at_once = 0
        self.most_at_once = 0
        self.lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.server_port}"

    @property
    def env(self) -> dict[str, str]:
        """The environment by which AWS's SDK finds its credentials, and our source its agent."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": REGION,
            "AGENT_ID": AGENT,
            "AGENT_ALIAS_ID": ALIAS,
        }

    def __enter__(self) -> BedrockAgentService:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that has gone is no fault."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BedrockAgentService

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if (why := self._signature_fault(body)) is not None:
            self.server.refused.append(why)
            self._refuse(Refuse(403, "InvalidSignatureException", why))
            return
        parts = self.path.split("/")
        if len(parts) != 8 or (parts[1], parts[3], parts[5], parts[7]) != (
            "agents",
            "agentAliases",
            "sessions",
            "text",
        ):
            self._refuse(Refuse(404, "UnknownOperationException", self.path))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(
            unquote(parts[2]), unquote(parts[4]), unquote(parts[6]), json.loads(body), self.client_address[1], headers
        )
        with self.server.lock:
            self.server.asked.append(asked)
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        try:
            self._play(asked)
        except OSError:
            asked.lost.set()
            self.close_connection = True
        finally:
            with self.server.lock:
                self.server.at_once -= 1

    def _play(self, asked: Asked) -> None:
        begun = False
        for step in self.server.script(asked):
            if isinstance(step, Refuse):
                self._refuse(step)
                return
            if isinstance(step, Wait) and not begun:
                if not step.hold(asked, self.connection):
                    self.close_connection = True
                    return
                continue
            if not begun:
                begun = True
                self._begin(asked)
            match step:
                case Wait():
                    if not step.hold(asked, self.connection):
                        self.close_connection = True
                        return
                case Cut():
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                case _:
                    self._write(step.frame())
        if not begun:
            self._begin(asked)
        self.wfile.write(b"0\r\n\r\n")

    def _begin(self, asked: Asked) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/vnd.amazon.eventstream")
        self.send_header("transfer-encoding", "chunked")
        self.send_header("x-amzn-bedrock-agent-content-type", "application/json")
        self.send_header("x-amz-bedrock-agent-session-id", asked.session)
        self.end_headers()

    def _write(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _refuse(self, refusal: Refuse) -> None:
        body = json.dumps({"message": refusal.message}).encode()
        self.send_response(refusal.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("x-amzn-errortype", f"{refusal.name}:http://internal.amazon.com/coral/")
        self.end_headers()
        self.wfile.write(body)

    def _signature_fault(self, body: bytes) -> str | None:
        """What is wrong with the signature, None if nothing is: botocore computes it from the request as it came."""
        given = self.headers.get("authorization", "")
        scheme, _, rest = given.partition(" ")
        if scheme != "AWS4-HMAC-SHA256":
            return f"no signature: {given!r}"
        told = dict(item.strip().split("=", 1) for item in rest.split(","))
        key, date, region, service, _ = told["Credential"].split("/")
        if (key, region, service) != (ACCESS_KEY, REGION, "bedrock"):
            return f"signed for {key} {region} {service}"
        signed = told["SignedHeaders"].split(";")
        if not {"host", "x-amz-date"} <= set(signed):
            return f"signed are only {signed}"
        request = AWSRequest(
            "POST", f"{self.server.url}{self.path}", {one: self.headers[one] for one in signed}, data=body
        )
        request.context["timestamp"] = self.headers["x-amz-date"]
        if not self.headers["x-amz-date"].startswith(date):
            return "the date is another"
        auth = SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "bedrock", REGION)
        computed = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
        return None if hmac.compare_digest(computed, told["Signature"]) else "the signature does not match"
