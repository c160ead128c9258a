"""Fixtures of the end-to-end tests: one certificate authority, one stand-in and one proxy a test process.

A test that does not change the proxy shares it with all others and keeps to a session of its own (``session``). One
that ends it, reloads it or needs another configuration starts its own with ``start_proxy``.
"""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trustme
from mitmproxy.certs import CertStore

from tests.e2e.clients import Link
from tests.e2e.proxy import REDIRECT, Proxy
from tests.e2e.rules import SHARED_CONFIG
from tests.e2e.standin import Standin

type StartProxy = Callable[..., Proxy]


@pytest.fixture(scope="session")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mitmproxy's folder, with its certificate authority in it."""
    folder = tmp_path_factory.mktemp("mitmproxy")
    CertStore.create_store(folder, "mitmproxy", 2048)
    return folder


@pytest.fixture(scope="session")
def proxy_authority(confdir: Path) -> Path:
    """What a client behind the forward proxy trusts, and nothing else."""
    return confdir / "mitmproxy-ca-cert.pem"


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """The authority of the real services, which are the stand-in."""
    return trustme.CA()


@pytest.fixture(scope="session")
def real_tls(authority: trustme.CA) -> ssl.SSLContext:
    """What a client trusts that expects to see the stand-in's own certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="session")
def shared_standin(authority: trustme.CA) -> Iterator[Standin]:
    """The stand-in. Tests take ``service``, which gives it to them clean."""
    with Standin(authority) as standin:
        yield standin


@pytest.fixture
def service(shared_standin: Standin) -> Iterator[Standin]:
    """The stand-in for every host, with no request kept and no script in force."""
    shared_standin.reset()
    yield shared_standin
    shared_standin.reset()


@pytest.fixture(scope="session")
def upstream(
    tmp_path_factory: pytest.TempPathFactory, shared_standin: Standin, authority: trustme.CA
) -> dict[str, Any]:
    """Arguments of ``Proxy`` by which the real names lead to the stand-in, and are trusted there."""
    trusted = tmp_path_factory.mktemp("authority") / "real.pem"
    authority.cert_pem.write_to_path(str(trusted))
    return {
        "env": shared_standin.env,
        "scripts": (REDIRECT,),
        "options": ("--set", f"ssl_verify_upstream_trusted_ca={trusted}"),
    }


@pytest.fixture(scope="session")
def shared_proxy(tmp_path_factory: pytest.TempPathFactory, confdir: Path, upstream: dict[str, Any]) -> Iterator[Proxy]:
    """The proxy that tests share. Its configuration is in ``rules``."""
    with Proxy(tmp_path_factory.mktemp("proxy"), confdir, config=SHARED_CONFIG, **upstream) as proxy:
        yield proxy


@pytest.fixture
def proxy(shared_proxy: Proxy, service: Standin) -> Iterator[Proxy]:
    """The shared proxy; a test that fails shows what its log says since the test began."""
    before = len(shared_proxy.log)
    yield shared_proxy
    said = shared_proxy.log[before:]
    assert "Traceback" not in said, said


@pytest.fixture
def start_proxy(tmp_path: Path, confdir: Path, upstream: dict[str, Any], service: Standin) -> Iterator[StartProxy]:
    """Starts proxies that belong to one test; they are ended, and their logs checked, after it."""
    with ExitStack() as stack:
        numbers = itertools.count()

        def start(**arguments: Any) -> Proxy:
            given = {**upstream, **arguments}
            given["env"] = {**upstream["env"], **arguments.get("env", {})}
            given["options"] = (*upstream["options"], *arguments.get("options", ()))
            proxy = Proxy(tmp_path / f"proxy{next(numbers)}", arguments.pop("confdir", confdir), **given)
            stack.callback(proxy.close)
            proxy.start()
            return proxy

        yield start


@pytest.fixture
def session() -> str:
    """A session's id that no other test uses."""
    return f"s-{uuid4().hex[:12]}"


@pytest.fixture
def at_meeting(proxy: Proxy) -> Link:
    """The way to the meeting point of the shared proxy."""
    return Link(proxy)


@pytest.fixture
def through_proxy(proxy: Proxy, proxy_authority: Path) -> Link:
    """The way through the forward listener of the shared proxy."""
    return Link(proxy, proxy_authority)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, Any]:
    """A test that fails shows what the shared proxy had to say."""
    report = yield
    proxy = getattr(item, "funcargs", {}).get("shared_proxy")
    if report.when == "call" and report.failed and isinstance(proxy, Proxy):
        report.sections.append(("log of the shared proxy", proxy.log[-4000:]))
    return report
