"""The listening socket of the HTTP interface."""

from __future__ import annotations

import errno
import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from raftcache.frontends.backend import Backend
from raftcache.frontends.http.app import FRONT, build_app
from raftcache.frontends.http.context import HttpSettings

KEEPALIVE_SECONDS = 75.0
"""An idle connection is kept this long: longer than most clients and proxies keep theirs."""
STOP_SECONDS = 2.0
"""How long requests under way may still take once the server stops."""
BACKLOG = 1024


def _protocol_log() -> logging.Logger:
    """What aiohttp logs of a connection. Bytes that are no HTTP get their 400 and one line, and no traceback: anybody
    can send them."""
    log = logging.getLogger("raftcache.http")
    log.filters.clear()
    log.addFilter(_without_strangers)
    return log


def _without_strangers(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.exc_info, record.exc_text = None, None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args = "what arrived is no HTTP request: %.200s", (error.message,)
    return True


class ListenError(OSError):
    """The address cannot be listened on; the message names it and the configuration field."""


class HttpServer:
    """`backend` over HTTP on one address. Port 0 lets the system choose; `port` then says which."""

    def __init__(self, backend: Backend, host: str, port: int, settings: HttpSettings | None = None) -> None:
        self.host, self.port = host, port
        self._app = build_app(backend, settings)
        self._runner: web.AppRunner | None = None

    @property
    def shedding(self) -> bool:
        """Whether this process is late and takes no new requests."""
        return self._app[FRONT].load.shedding

    async def start(self) -> None:
        """Listen. Raises ListenError."""
        runner = web.AppRunner(
            self._app,
            access_log=None,
            logger=_protocol_log(),
            handler_cancellation=False,
            keepalive_timeout=KEEPALIVE_SECONDS,
            shutdown_timeout=STOP_SECONDS,
        )
        await runner.setup()
        front, server = self._app[FRONT], runner.server
        if server is not None:
            front.connections = lambda: len(server.connections)
        try:
            await web.TCPSite(runner, self.host, self.port, backlog=BACKLOG).start()
        except (OSError, OverflowError) as error:
            await runner.cleanup()
            raise self._listen_error(error) from error
        front.load.start()
        self._runner = runner
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Take no more requests, give those under way a moment, close. Harmless when not started."""
        if self._runner is not None:
            self._app[FRONT].load.stop()
            await self._runner.cleanup()
            self._runner = None

    def _listen_error(self, error: Exception) -> ListenError:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "the port is taken by another process" if taken else str(error)
        return ListenError(f"cannot listen for HTTP on {self.host}:{self.port} (field `http`): {reason}")
