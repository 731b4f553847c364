"""Ports are reserved from the choice to the end: nobody else gets them while a cluster has yet to bind them."""

from __future__ import annotations

import secrets
import socket

import pytest

from jepsen_like.ports import NoPorts, Ports


def only(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """Let every choice fall on this decade."""
    monkeypatch.setattr(secrets, "choice", lambda _range: first)


def test_reserved_decades_are_refused_to_others_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with Ports(3) as kept:
        only(monkeypatch, kept.base + 10)
        with pytest.raises(NoPorts):
            Ports(1)
    with Ports(1) as again:
        assert again.base == kept.base + 10


def test_a_decade_with_a_taken_port_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with Ports(1) as kept:
        base = kept.base
    only(monkeypatch, base)
    with socket.create_server(("127.0.0.1", base + 1)), pytest.raises(NoPorts, match="no 1 free decades"):
        Ports(1)


def test_the_ports_themselves_can_be_bound() -> None:
    with Ports(2) as kept:
        for port in (kept.base, kept.base + 2, kept.base + 12):
            socket.create_server(("127.0.0.1", port)).close()
