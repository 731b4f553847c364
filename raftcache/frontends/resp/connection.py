"""Commands about the connection itself: PING, ECHO, SELECT, QUIT, RESET, AUTH, HELLO."""

from __future__ import annotations

from raftcache.frontends.resp.encoding import OK, PONG, array_head, bulk, encode
from raftcache.frontends.resp.spec import Args, Refused, integer, shown
from raftcache.frontends.resp.state import REDIS_VERSION, USER, Client, Front

_NO_PASSWORD = (
    "ERR AUTH <password> called without any password configured for the default user. "
    "Are you sure your configuration is correct?"
)
TEXT_LIMIT_BYTES = 128
"""Of each text that a client says about itself; all of them are kept for as long as it is connected."""
_WRONG = "WRONGPASS invalid username-password pair or user is disabled."


def ping(front: Front, client: Client, args: Args) -> bytes:
    """PING [message]."""
    if len(args) > 2:
        raise Refused("ERR wrong number of arguments for 'ping' command")
    return bulk(args[1]) if len(args) == 2 else PONG


def echo(front: Front, client: Client, args: Args) -> bytes:
    """ECHO message."""
    return bulk(args[1])


def select(front: Front, client: Client, args: Args) -> bytes:
    """SELECT index: there is one database, 0."""
    if integer(args[1]) != 0:
        raise Refused("ERR DB index is out of range")
    return OK


def quit_(front: Front, client: Client, args: Args) -> bytes:
    """QUIT."""
    client.leaving = True
    return OK


def reset(front: Front, client: Client, args: Args) -> bytes:
    """RESET."""
    client.forget_settings()
    return b"+RESET\r\n"


def auth(front: Front, client: Client, args: Args) -> bytes:
    """AUTH [username] password: the default user has no password, so any is right, as in Redis (`nopass`)."""
    if len(args) == 2:
        raise Refused(_NO_PASSWORD)
    if len(args) > 3:
        raise Refused("ERR syntax error")
    _authenticate(args[1])
    return OK


def _authenticate(user: bytes) -> None:
    if user != USER:
        raise Refused(_WRONG)


def hello(front: Front, client: Client, args: Args) -> bytes:
    """HELLO [protover [AUTH username password] [SETNAME clientname]]. Nothing changes where a part is refused."""
    resp3, name = client.resp3, client.name
    if len(args) > 1:
        resp3 = _protocol(args[1]) == 3
    at = 2
    while at < len(args):
        option, left = args[at].upper(), len(args) - at - 1
        if option == b"AUTH" and left >= 2:
            _authenticate(args[at + 1])
            at += 3
        elif option == b"SETNAME" and left >= 1:
            name = checked_name(args[at + 1])
            at += 2
        else:
            raise Refused(f"ERR Syntax error in HELLO option '{shown(args[at])}'")
    client.resp3, client.name = resp3, name
    return encode(_greeting(front, client), resp3)


def _protocol(argument: bytes) -> int:
    version = integer(argument, "ERR Protocol version is not an integer or out of range")
    if version not in (2, 3):
        raise Refused("NOPROTO unsupported protocol version")
    return version


def _greeting(front: Front, client: Client) -> dict[str, object]:
    return {
        "server": "redis",
        "version": REDIS_VERSION,
        "proto": 3 if client.resp3 else 2,
        "id": client.id,
        "mode": "cluster" if front.is_cluster else "standalone",
        "role": "master",
        "modules": [],
    }


def checked_name(name: bytes) -> bytes:
    """A client's name. Raises Refused."""
    return checked_text(name, "Client names")


def checked_text(text: bytes, what: str) -> bytes:
    """Something that a client says about itself. Raises Refused."""
    if any(not 0x21 <= byte <= 0x7E for byte in text[: TEXT_LIMIT_BYTES + 1]):
        raise Refused(f"ERR {what} cannot contain spaces, newlines or special characters.")
    if len(text) > TEXT_LIMIT_BYTES:
        raise Refused(f"ERR {what} have at most {TEXT_LIMIT_BYTES} bytes, got {len(text)}")
    return text


def time_(front: Front, client: Client, args: Args) -> bytes:
    """TIME: seconds and microseconds since the Unix epoch, by this process's clock, which knows milliseconds."""
    seconds, milliseconds = divmod(front.runtime.wall_ms(), 1000)
    return array_head(2) + bulk(b"%d" % seconds) + bulk(b"%d" % (milliseconds * 1000))
