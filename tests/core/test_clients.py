"""Which address is a client's, and what counts as one client."""

from __future__ import annotations

import pytest

from motive_core.clients import TrustedProxies, address_of, limited_as


class TestRealAddress:
    @pytest.mark.parametrize(
        ("peer", "header", "client"),
        [
            ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
            ("10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),  # the first one is the client's own invention
            ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),  # through two of ours
            ("10.0.0.1", "10.9.9.9, 10.0.0.2", "10.9.9.9"),  # nobody but ours: the farthest
            ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
            ("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
            ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
            ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
            ("10.0.0.1", " 203.0.113.9 ", "203.0.113.9"),
            ("10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ],
    )
    def test_behind_a_trusted_proxy(self, peer: str, header: str, client: str) -> None:
        assert TrustedProxies(["10.0.0.0/8"]).client_of(peer, header) == client

    @pytest.mark.parametrize(
        ("header", "client"),
        [
            ("", "10.0.0.1"),
            ("unknown", "10.0.0.1"),
            ("203.0.113.9, unknown", "10.0.0.1"),  # nobody vouches for what is behind it
            ("203.0.113.9, unknown, 10.0.0.2", "10.0.0.2"),
            ("203.0.113.9,,", "10.0.0.1"),
            ("[2001:db8::7", "2001:db8::7"),
            ("999.1.1.1", "10.0.0.1"),
            ("\n203.0.113.9\udcff", "10.0.0.1"),
        ],
    )
    def test_what_is_no_address_ends_the_reading(self, header: str, client: str) -> None:
        assert TrustedProxies(["10.0.0.0/8"]).client_of("10.0.0.1", header) == client

    @pytest.mark.parametrize("peer", ["203.0.113.1", "127.0.0.1", "nonsense", ""])
    def test_a_stranger_is_not_believed(self, peer: str) -> None:
        assert TrustedProxies(["10.0.0.0/8"]).client_of(peer, "198.51.100.1") == peer

    def test_nobody_is_trusted_by_default(self) -> None:
        assert TrustedProxies(()).client_of("127.0.0.1", "198.51.100.1") == "127.0.0.1"

    def test_no_header(self) -> None:
        assert TrustedProxies(["127.0.0.1"]).client_of("127.0.0.1", None) == "127.0.0.1"

    def test_a_block_in_the_writing_of_ipv6(self) -> None:
        assert TrustedProxies(["::ffff:10.0.0.0/104"]).client_of("10.1.2.3", "203.0.113.9") == "203.0.113.9"

    def test_a_long_header_is_read_from_its_end_only(self) -> None:
        header = ",".join(["10.0.0.9"] * 100_000)
        assert TrustedProxies(["10.0.0.0/8"]).client_of("10.0.0.1", header) == "10.0.0.9"


class TestOneClient:
    def test_a_key_of_ours_is_who_it_is(self) -> None:
        assert limited_as("203.0.113.1", "game") == limited_as("203.0.113.2", "game") == "key game"

    def test_an_address_is_no_key(self) -> None:
        assert limited_as("127.0.0.1") == "127.0.0.1"
        assert limited_as("::ffff:127.0.0.1") == "127.0.0.1"

    def test_an_ipv6_network_is_one_client(self) -> None:
        assert limited_as("2001:db8::1") == limited_as("2001:db8::ffff:1") != limited_as("2001:db8:0:1::1")

    def test_what_is_no_address(self) -> None:
        assert limited_as("nonsense") == "nonsense"
        assert address_of("nonsense") is None
