"""Requests as they are passed on: nothing in them that two readers would read differently."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mitmproxy import http
from mitmproxy.proxy.layers.http import _http1
from mitmproxy.test import tflow, tutils

from motive_shell import framing
from motive_shell.framing import HeadBounds, frame, mend, without_trailers


def request(*fields: tuple[bytes, bytes], method: bytes = b"POST", path: bytes = b"/") -> http.Request:
    return tutils.treq(method=method, path=path, headers=http.Headers([(b"Host", b"x"), *fields]))


def test_an_ordinary_request_is_left_alone() -> None:
    one = request((b"X-Word", "Grüße".encode()), (b"X-Tab", b"a\tb"), path=b"/a%20b?c=\xff")
    before = one.copy()
    assert mend(one) is None
    frame(one)
    assert one.data == before.data


@pytest.mark.parametrize(
    ("value", "mended"),
    [(b"a\rb", b"a b"), (b"a\r\n b", b"a b"), (b"a\r\n\t  b", b"a b"), (b"a\0b", b"a b"), (b"a\nb: c", b"a b: c")],
)
def test_what_must_not_stand_in_a_value(value: bytes, mended: bytes) -> None:
    one = request((b"X", value), (b"Y", b"y"))
    assert mend(one) is None
    assert one.headers.fields == ((b"Host", b"x"), (b"X", mended), (b"Y", b"y"))


def test_controls_in_a_target() -> None:
    one = request(path=b"/a b\0c\rd\x7f")
    assert mend(one) is None
    assert one.data.path == b"/a%20b%00c%0Dd%7F"


@pytest.mark.parametrize(
    "one",
    [
        request((b"HOST", b"y")),
        request((b"host", b"x"), (b"X", b"a\rb")),
        request(method=b"GET /smuggled"),
        request(method=b"GET\r\nX:"),
    ],
    ids=["two hosts", "two hosts and a mended value", "space in the method", "line in the method"],
)
def test_what_must_be_refused(one: http.Request) -> None:
    assert mend(one) is not None


def test_a_body_gets_a_length_if_it_has_none() -> None:
    one = tutils.treq(http_version=b"HTTP/2.0", headers=http.Headers(), content=b"hello", trailers=http.Headers(x="y"))
    frame(one)
    assert (one.headers["content-length"], one.trailers) == ("5", None)
    empty = tutils.treq(http_version=b"HTTP/2.0", headers=http.Headers(), content=b"")
    chunked = tutils.treq(headers=http.Headers(transfer_encoding="chunked"), content=b"hello")
    for other in (empty, chunked):
        frame(other)
        assert "content-length" not in other.headers


@pytest.mark.parametrize(("alpn", "kept"), [(b"h2", True), (b"http/1.1", False), (None, False)])
def test_trailers_of_a_reply_go_to_clients_of_http_2_only(alpn: bytes | None, *, kept: bool) -> None:
    flow = tflow.tflow(resp=tutils.tresp(trailers=http.Headers(x="y")))
    flow.client_conn.alpn = alpn
    without_trailers(flow)
    assert flow.response is not None
    assert (flow.response.trailers is not None) == kept


@pytest.fixture
def untouched() -> Iterator[None]:
    framing.uninstall()
    yield
    framing.uninstall()


@pytest.mark.usefixtures("untouched")
def test_install_is_undone() -> None:
    def parts() -> tuple[object, object]:
        return vars(_http1.Http1Server).get("_handle_event"), vars(_http1)["ChunkedReader"]

    before = parts()
    HeadBounds(1.0, lambda _: b"").install()
    HeadBounds(2.0, lambda _: b"").install()
    assert all(one is not other for one, other in zip(parts(), before, strict=True))
    framing.uninstall()
    assert parts() == before
