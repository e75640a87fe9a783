"""Commands on their way to the servers that hold their keys: sent in bulk, answered in order, each server by itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from redis.exceptions import AskError, MovedError

from millrace_core.features.online.store_url import Host
from millrace_data.online.resp import Command, pack
from millrace_data.online.servers import Servers
from millrace_data.online.write_rule import SCRIPT

# Bytes that may be on their way to one server without an answer; more would only fill buffers.
_IN_FLIGHT: Final = 4 << 20
_ASKING: Final = pack(b"ASKING", [])
_LOAD: Final = pack(b"SCRIPT", [b"LOAD", SCRIPT])

Answered = Callable[[Command, int], None]


class _Lane:
    """One server's connection, the commands that wait for it, and those that wait for its answers."""

    def __init__(self, name: str, client: Any) -> None:
        self.host = name.rpartition(":")[0]
        self.waiting: deque[Command] = deque()
        self.sent: deque[Command] = deque()
        self.asking: set[int] = set()
        self._in_flight = 0
        self._pool = client.connection_pool
        self._connection = self._pool.get_connection()
        try:
            self._connection.send_packed_command([_LOAD], check_health=False)
            self._connection.read_response()
        except BaseException:
            self.close()
            raise

    def send(self) -> None:
        """Sends as much as may be on its way."""
        while self.waiting and (self._in_flight < _IN_FLIGHT or not self.sent):
            command = self.waiting.popleft()
            self.sent.append(command)
            self._in_flight += len(command.wire)
            wires = [_ASKING, command.wire] if id(command) in self.asking else [command.wire]
            self._connection.send_packed_command(wires, check_health=False)

    def receive(self) -> tuple[Command, int | AskError]:
        """The oldest command that has no answer yet, with its answer, or where it is to be sent instead."""
        command = self.sent[0]
        if id(command) in self.asking:
            self._connection.read_response()
        answer: int | AskError
        try:
            answer = int(self._connection.read_response())
        except AskError as elsewhere:  # MOVED is one of them
            answer = elsewhere
        self.sent.popleft()
        self.asking.discard(id(command))
        self._in_flight -= len(command.wire)
        return command, answer

    def close(self) -> None:
        self._connection.disconnect()
        self._pool.release(self._connection)


class Delivery:
    """Connections to a store's servers, made as they are needed; each server is given the write rule's script first.

    Args:
        servers: of the store.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._lanes: dict[str, _Lane] = {}
        self._moved: dict[int, str] = {}

    @property
    def open(self) -> bool:
        """Whether there is any connection."""
        return bool(self._lanes)

    def exchange(self, unanswered: deque[Command], answered: Answered) -> None:
        """Sends commands and reads in turns, so that neither side's buffers fill up, until each is answered.

        Raises:
            the client library's errors; what has no answer is in ``unanswered`` then.
        """
        try:
            while unanswered:
                lane = self._lane(self._holder(unanswered[0].slot))
                lane.waiting.append(unanswered.popleft())
            while busy := [lane for lane in self._lanes.values() if lane.waiting or lane.sent]:
                for lane in busy:
                    lane.send()
                for lane in busy:
                    command, answer = lane.receive()
                    if isinstance(answer, int):
                        answered(command, answer)
                    else:
                        unanswered.append(command)
                        self._redirect(command, answer, lane.host)
                        unanswered.pop()
        except Exception:
            for lane in self._lanes.values():
                unanswered.extend([*lane.sent, *lane.waiting])
                lane.sent.clear()
                lane.waiting.clear()
            raise

    def close(self) -> None:
        """Ends all connections, and what was known of where slots are."""
        for lane in self._lanes.values():
            lane.close()
        self._lanes.clear()
        self._moved.clear()

    def _holder(self, slot: int) -> str:
        return self._moved.get(slot) or self._servers.holder(slot)

    def _lane(self, name: str) -> _Lane:
        if name not in self._lanes:
            self._lanes[name] = _Lane(name, self._servers.at(name))
        return self._lanes[name]

    def _redirect(self, command: Command, elsewhere: AskError, sender: str) -> None:
        # A node that tells a port alone has the host of the one that sent the answer.
        name = str(Host(elsewhere.host, elsewhere.port)) if elsewhere.host else f"{sender}:{elsewhere.port}"
        lane = self._lane(name)
        if isinstance(elsewhere, MovedError):
            self._moved[command.slot] = name
        else:
            lane.asking.add(id(command))
        lane.waiting.append(command)
