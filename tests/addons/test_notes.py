"""What a flow's line in a list shows of its call."""

from __future__ import annotations

import json

import pytest
from mitmproxy import flowfilter, http
from mitmproxy.test import tflow
from mitmproxy.utils import emoji

from motive_shell.notes import ANSWERED, FAILED, HELD
from tests.addons.flows import Proxy, chat_flow
from tests.addons.test_addon import settle

SECRET = "sk-a-secret"


def found(flow: http.HTTPFlow, filter_: str) -> bool:
    return bool(flowfilter.match(filter_, flow))


def notes(flow: http.HTTPFlow) -> dict[str, object]:
    return {name.removeprefix("motive."): value for name, value in flow.metadata.items() if name.startswith("motive.")}


async def test_a_held_flow_tells_who_it_waits_for_and_since_when(proxy: Proxy) -> None:
    flow = await proxy.call("troll?", agent="game", forward=False)
    assert (flow.comment, flow.marked) == ("held for npc, 0 s", HELD)
    told = notes(flow)
    assert {name: told[name] for name in ("session", "state", "source", "dialect")} == {
        "session": "npc",
        "state": "held",
        "source": "pair",
        "dialect": "openai-chat",
    }
    assert isinstance(told["exchange"], str) and isinstance(told["waited_s"], float)


async def test_filters_of_mitmproxy_find_it(proxy: Proxy) -> None:
    held = await proxy.call("troll?", agent="game")
    passed = await proxy.call("hello", "other", forward=True)
    for filter_ in ("~marked", "~comment npc", '~meta "motive.state: held"', '~meta "motive.session: npc"'):
        assert found(held, filter_), filter_
        assert not found(passed, filter_), filter_
    assert found(passed, "~comment passed") and found(passed, '~meta "motive.state: passed"')


async def test_one_that_listens_is_not_marked(proxy: Proxy) -> None:
    player = await proxy.call("/join", agent="player")
    assert (player.comment, player.marked) == ("listens in npc, 0 s", "")
    assert notes(player)["state"] == "listening"
    await proxy.call("troll?", agent="game")
    await proxy.finish(player)
    assert player.comment.startswith("prompted for npc, ") and notes(player)["state"] == "prompted"


async def test_a_failed_flow_tells_why(proxy: Proxy) -> None:
    flow = await proxy.call("troll?", agent="game")
    proxy.runtime.gateway.shut_down()
    await proxy.addon.response(flow)
    assert flow.comment.startswith("failed (shutting_down) for npc, ")
    assert flow.marked == FAILED and notes(flow)["state"] == "failed"


async def test_a_flow_whose_client_left_tells_so(proxy: Proxy) -> None:
    flow = await proxy.call("troll?", agent="game")
    flow.error = tflow.terr()
    await proxy.addon.error(flow)
    assert flow.comment.startswith("client left npc, ") and notes(flow)["state"] == "gone"
    assert flow.marked == ""


async def test_a_passed_flow_tells_its_session(proxy: Proxy) -> None:
    flow = await proxy.call("hello", forward=True)
    assert (flow.comment, flow.marked) == ("passed for npc", "")
    told = notes(flow)
    assert (told["state"], told["source"], told["session"], told["waited_s"]) == ("passed", "service", "npc", 0.0)


async def test_a_flow_that_its_route_lets_pass_tells_so(proxy: Proxy) -> None:
    flow = chat_flow("hello", forward=True)
    flow.request.content = b"no call"
    await proxy.addon.request(flow)
    assert flow.response is None
    told = notes(flow)
    assert len(str(told.pop("exchange"))) == 24
    assert (flow.comment, told) == ("passed", {"state": "passed", "source": "service", "dialect": "openai-chat"})


async def test_what_the_operator_wrote_stays(proxy: Proxy) -> None:
    flow = await proxy.call("troll?", agent="game")
    flow.comment, flow.marked = "mine", ":grapes:"
    proxy.runtime.holds.tell_waiting(10)
    assert (flow.comment, flow.marked) == ("mine", ":grapes:")
    flow.comment = ""
    await proxy.finish(await proxy.call("ping", agent="player"))
    await proxy.call("go away", agent="player")
    await proxy.finish(flow)
    assert (flow.comment, flow.marked) == ("", ":grapes:")
    assert notes(flow)["state"] == "answered"


async def test_an_answered_flow_is_marked(proxy: Proxy) -> None:
    player = await proxy.call("/join", agent="player")
    game = await proxy.call("troll?", agent="game")
    await proxy.finish(player)
    await proxy.call("I attack!", agent="player")
    await proxy.finish(game)
    assert game.comment.startswith("answered for npc, ") and game.marked == ANSWERED


async def test_who_waits_is_told_anew_so_many_at_a_time(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    flows = [await proxy.call(f"troll {number}?", f"npc{number}", agent="game") for number in range(5)]
    gateway, began = proxy.runtime.gateway, proxy.runtime.gateway.clock()
    monkeypatch.setattr(gateway, "clock", lambda: began + 12.2)
    told = [proxy.runtime.holds.tell_waiting(2) for _ in range(3)]
    assert [len(one) for one in told] == [2, 2, 1]
    assert [flow for one in told for flow in one] == flows
    assert [flow.comment for flow in flows] == [f"held for npc{number}, 12 s" for number in range(5)]
    assert notes(flows[0])["waited_s"] == pytest.approx(12.2, abs=1.0)
    assert proxy.runtime.holds.tell_waiting(2) == flows[:2]


async def test_nothing_secret_and_nothing_that_is_not_json_stands_in_them(proxy: Proxy) -> None:
    flow = chat_flow("troll?", "npc \ud800", agent="game")
    flow.request.headers["authorization"] = f"Bearer {SECRET}"
    await proxy.addon.request(flow)
    written = json.dumps(flow.metadata, ensure_ascii=False) + flow.comment
    assert SECRET not in written
    written.encode()


@pytest.mark.parametrize("mark", [HELD, ANSWERED, FAILED])
def test_a_mark_is_one_that_mitmproxy_renders(mark: str) -> None:
    assert len(emoji.emoji[mark]) == 1


async def test_resume_is_told(proxy: Proxy) -> None:
    await proxy.call("/join", agent="player")
    flow = await proxy.call("hello", forward=True)
    flow.resume()
    await settle()
    assert flow.comment.startswith("passed by operator for npc, ") and flow.marked == ""
    assert notes(flow)["state"] == "passed"
