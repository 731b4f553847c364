"""CLIENT: who is connected to this port, and what they call themselves."""

from __future__ import annotations

from raftcache.frontends.resp.connection import checked_name, checked_text
from raftcache.frontends.resp.encoding import OK, Verbatim, encode, integer
from raftcache.frontends.resp.spec import SYNTAX, Args, Refused
from raftcache.frontends.resp.spec import integer as number
from raftcache.frontends.resp.state import Client, Front

_TYPES = (b"NORMAL", b"MASTER", b"REPLICA", b"SLAVE", b"PUBSUB")


def setname(front: Front, client: Client, args: Args) -> bytes:
    """CLIENT SETNAME name."""
    client.name = checked_name(args[2])
    return OK


def getname(front: Front, client: Client, args: Args) -> bytes:
    """CLIENT GETNAME."""
    return encode(client.name or None, client.resp3)


def setinfo(front: Front, client: Client, args: Args) -> bytes:
    """CLIENT SETINFO LIB-NAME name | LIB-VER version."""
    option, text = args[2].upper(), args[3]
    if option not in (b"LIB-NAME", b"LIB-VER"):
        raise Refused(f"ERR Unrecognized option '{args[2][:128].decode(errors='replace')}'")
    text = checked_text(text, option.decode().lower())
    if option == b"LIB-NAME":
        client.lib_name = text
    else:
        client.lib_ver = text
    return OK


def id_(front: Front, client: Client, args: Args) -> bytes:
    """CLIENT ID."""
    return integer(client.id)


def info(front: Front, client: Client, args: Args) -> bytes:
    """CLIENT INFO."""
    return encode(Verbatim(_line(front, client)), client.resp3)


def list_(front: Front, client: Client, args: Args) -> bytes:
    """CLIENT LIST [TYPE type | ID id ...]."""
    chosen = list(front.clients.values())
    if len(args) > 2:
        option, values = args[2].upper(), args[3:]
        if option == b"TYPE" and len(values) == 1 and values[0].upper() in _TYPES:
            chosen = chosen if values[0].upper() == b"NORMAL" else []
        elif option == b"ID" and values:
            wanted = {number(value, "ERR Invalid client ID") for value in values}
            chosen = [each for each in chosen if each.id in wanted]
        else:
            raise Refused(SYNTAX)
    return encode(Verbatim("".join([_line(front, each) for each in chosen])), client.resp3)


def no_evict(front: Front, client: Client, args: Args) -> bytes:
    """CLIENT NO-EVICT ON | OFF: no connection is ever closed to save memory, so there is nothing to do."""
    if args[2].upper() not in (b"ON", b"OFF"):
        raise Refused(SYNTAX)
    return OK


def _line(front: Front, client: Client) -> str:
    """One line, as CLIENT LIST in Redis has it; fields that have no meaning here are left out."""
    now = front.runtime.now()
    fields = {
        "id": client.id,
        "addr": client.address,
        "laddr": client.local_address,
        "name": client.name.decode(),
        "age": int(now - client.connected_s),
        "idle": int(now - client.seen_s),
        "flags": "N",
        "db": 0,
        "cmd": client.last_command,
        "user": "default",
        "lib-name": client.lib_name.decode(),
        "lib-ver": client.lib_ver.decode(),
        "resp": 3 if client.resp3 else 2,
    }
    return " ".join([f"{name}={value}" for name, value in fields.items()]) + "\n"
