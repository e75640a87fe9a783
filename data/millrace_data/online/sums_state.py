"""Whether an experiment's sums are whole: what they were filled with, and which logs were told to them in full.

Beside the keys of ``experiment_sums``::

    state   hash    incarnation (of the keys; another one, or none, once they were lost), began (when they began to be
                    filled, microseconds), whole (the metrics' digest, once all that the lake has was told)
    logs    hash    uid of a gateway's log -> what that gateway said last (``LogState``)
    lock    string  the incarnation that somebody fills just now

Every gateway that may have logged something of the experiment stands in ``logs``. Sums are whole once they have what
the lake has, and each of these logs was told in full, by the word of its gateway. A gateway that is gone and had said
so may stay away. One that had not, or whose log was not in the lake when the keys were lost, is missed by name, until
it comes back or somebody gives its log up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha1
from types import MappingProxyType
from typing import Final, NamedTuple

from millrace_core.base import timestamps
from millrace_core.experiments.published import PublishedExperiment
from millrace_data.online.experiment_sums import KEPT_SECONDS, metrics_digest, period
from millrace_data.online.resp import hash_reply

# A gateway that has not spoken for so long is away; microseconds.
AWAY: Final = 30 * 1_000_000
# Periods of ids that a rebuilding may have brought back.
_PERIODS: Final = 120


class Script(NamedTuple):
    """A script and the name by which servers know it that have run it."""

    text: bytes
    hash: bytes

    @classmethod
    def of(cls, text: bytes) -> Script:
        """The script of a text."""
        return cls(text, sha1(text, usedforsecurity=False).hexdigest().encode())


# A gateway says how far its log was told, to the keys that it believes there are; to others it has told nothing.
LOOK: Final = Script.of(b"""
local state, logs = KEYS[1] .. 'state', KEYS[1] .. 'logs'
local found = redis.call('HMGET', state, 'whole', 'incarnation')
local all = redis.call('HGETALL', logs)
if found[2] then
  local word, exposures, outcomes = ARGV[3], ARGV[4], ARGV[5]
  if found[2] ~= ARGV[2] then
    local before = redis.call('HGET', logs, ARGV[1])
    word, exposures, outcomes = '0', '0', '0'
    if before then exposures, outcomes = string.match(before, '^%d (%d+) (%d+)') end
  end
  redis.call('HSET', logs, ARGV[1], table.concat({word, exposures, outcomes, ARGV[6], ARGV[7]}, ' '))
  redis.call('EXPIRE', logs, ARGV[8])
end
return {found[1] or '', found[2] or '', all}
""")

# Keys that have no incarnation get this one, and the logs that somebody remembers.
BEGIN: Final = Script.of(b"""
local state, logs = KEYS[1] .. 'state', KEYS[1] .. 'logs'
if redis.call('HSETNX', state, 'incarnation', ARGV[1]) == 1 then
  redis.call('HSET', state, 'began', ARGV[2])
  redis.call('EXPIRE', state, ARGV[3])
end
for i = 4, #ARGV, 2 do redis.call('HSETNX', logs, ARGV[i], '0 0 0 0 ' .. ARGV[i + 1]) end
redis.call('EXPIRE', logs, ARGV[3])
return 1
""")

# Takes everything away but a new incarnation and the logs, of which nothing is told to it yet.
CLEAR: Final = Script.of(b"""
local base = KEYS[1]
for _, name in ipairs({'units', 'values', 'sums', 'waiting', 'crossed', 'state'}) do
  redis.call('UNLINK', base .. name)
end
for i = 4, #ARGV do redis.call('UNLINK', base .. 'ids:' .. ARGV[i]) end
redis.call('HSET', base .. 'state', 'incarnation', ARGV[1], 'began', ARGV[2])
redis.call('EXPIRE', base .. 'state', ARGV[3])
local all = redis.call('HGETALL', base .. 'logs')
for i = 1, #all, 2 do
  local word, rest = string.match(all[i + 1], '^(%d) %d+ %d+ (.*)$')
  if word == '2' then
    redis.call('HDEL', base .. 'logs', all[i])
  else
    redis.call('HSET', base .. 'logs', all[i], '0 0 0 ' .. rest)
  end
end
return 1
""")

READ: Final = Script.of(b"""
local base = KEYS[1]
local state = redis.call('HMGET', base .. 'state', 'whole', 'incarnation')
local logs, crossed = redis.call('HGETALL', base .. 'logs'), redis.call('SCARD', base .. 'crossed')
return {state[1] or '', state[2] or '', logs, crossed, redis.call('HGETALL', base .. 'sums')}
""")

# Says that all of the lake is there, to the incarnation that was filled and to no other.
FINISH: Final = Script.of(b"""
local state = KEYS[1] .. 'state'
if redis.call('HGET', state, 'incarnation') ~= ARGV[1] then return 0 end
redis.call('HSET', state, 'whole', ARGV[2])
return 1
""")

# One's own lock, and nobody else's who has it since it expired.
KEEP_LOCK: Final = Script.of(b"""
if redis.call('GET', KEYS[1] .. 'lock') ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1] .. 'lock', ARGV[2])
""")
UNLOCK: Final = Script.of(b"""
if redis.call('GET', KEYS[1] .. 'lock') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1] .. 'lock')
""")


class LogState(NamedTuple):
    """What a gateway said last of its log.

    Attributes:
        told: whether all of it was told to these keys.
        shipped: whether all of it is in the lake, too.
        exposures, outcomes: every row up to this segment was told, of either log.
        seen: when it spoke; microseconds.
    """

    told: bool
    shipped: bool
    exposures: int
    outcomes: int
    seen: int
    gateway: str

    def away(self, now: int) -> bool:
        """Whether its gateway does not speak any more."""
        return now - self.seen > AWAY

    def arguments(self) -> list[bytes]:
        """Of ``LOOK``."""
        word = b"2" if self.told and self.shipped else b"1" if self.told else b"0"
        return [word, b"%d" % self.exposures, b"%d" % self.outcomes, b"%d" % self.seen, self.gateway.encode()]


Logs = dict[str, LogState]
NO_SUMS: Final[Mapping[bytes, bytes]] = MappingProxyType({})


class Stored(NamedTuple):
    """What the store has of an experiment.

    Attributes:
        whole: the digest of the metrics for which all of the lake was told; empty: it was not.
        logs: by uid.
        sums: the fields of the hash ``sums``.
    """

    whole: str
    incarnation: str
    logs: Logs
    crossed: int = 0
    sums: Mapping[bytes, bytes] = NO_SUMS


def stored(reply: Sequence[object]) -> Stored:
    """The reply to ``READ``, or to ``LOOK``."""
    whole, incarnation, logs, *more = reply
    assert isinstance(whole, bytes) and isinstance(incarnation, bytes)  # noqa: S101, PT018 for the type checker
    found = Stored(whole.decode(), incarnation.decode(), _logs(hash_reply(logs)))
    return found if not more else found._replace(crossed=more[0], sums=hash_reply(more[1]))  # type: ignore[arg-type]


def _logs(raw: dict[bytes, bytes]) -> Logs:
    found: Logs = {}
    for uid, value in raw.items():
        word, exposures, outcomes, seen, gateway = value.decode().split(" ", 4)
        found[uid.decode()] = LogState(word != "0", word == "2", int(exposures), int(outcomes), int(seen), gateway)
    return found


def begin_arguments(incarnation: str, now: int, peers: Iterable[tuple[str, str]]) -> list[bytes]:
    """Of ``BEGIN``; ``peers`` are uids of logs, and their gateways."""
    named = [part.encode() for peer in peers for part in peer]
    return [incarnation.encode(), b"%d" % now, b"%d" % KEPT_SECONDS, *named]


def clear_arguments(incarnation: str, now: int) -> list[bytes]:
    """Of ``CLEAR``."""
    last = period(now)
    periods = [b"%d" % each for each in range(last - _PERIODS, last + 2)]
    return [incarnation.encode(), b"%d" % now, b"%d" % KEPT_SECONDS, *periods]


def missing(logs: Logs, now: int, *, anew: bool) -> dict[str, LogState]:
    """The logs that are not in the sums and whose gateways are away.

    Args:
        anew: whether the sums are to be made anew, so that also those are that were told to the old ones.
    """
    return {uid: each for uid, each in logs.items() if each.away(now) and not each.shipped and (anew or not each.told)}


def lacking(experiment: PublishedExperiment, found: Stored, now: int) -> str:
    """What the sums lack, in words; empty: nothing."""
    filled = found.whole == metrics_digest(experiment)
    gone = missing(found.logs, now, anew=not filled)
    if gone:
        return told_missing(gone)
    if not filled:
        return "outcomes that were logged: they are being filled"
    late = sorted(each.gateway for each in found.logs.values() if not each.told)
    return f"a part of the log of the gateway {', '.join(late[:3])}, which tells it now" if late else ""


def told_missing(gone: Logs) -> str:
    """Which logs are missing, in words."""
    parts = []
    for uid, each in sorted(gone.items())[:3]:
        since = timestamps.render(datetime.fromtimestamp(each.seen // 1_000_000, UTC)) if each.seen else "long"
        parts.append(f"the log {uid} of the gateway {each.gateway}, which is away since {since}")
    return f"what is not in the lake of {'; '.join(parts)}"


def without(gone: Logs) -> str:
    """The options of the command that gives these logs up."""
    return " ".join(f"--without {uid}" for uid in sorted(gone))
