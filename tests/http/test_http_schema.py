"""Schemathesis: generated requests, right and wrong, against a real server, held to the OpenAPI document.

Generation is derandomized, so every run sends the same requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from http_caller import DOCUMENT, Caller
from hypothesis import HealthCheck, settings
from schemathesis.checks import CheckContext, not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from raftcache.commands.namespaces import Namespaces
from raftcache.commands.policy import NAME_PATTERN, Namespace

UNSAYABLE = (
    "it must have 1 to 1024",
    "Expected `int`, got `float`",
    "Expected `int | null`, got `float`",
    "known: none",
)
"""What the document has no words for: a length in bytes; that an integer is written without a fraction, not as 7.0;
that the query parameters of a PUT belong to its raw body alone."""


def accepts_what_is_valid(context: CheckContext, response: Response, case: schemathesis.Case[Any]) -> bool | None:
    """`positive_data_acceptance`, but for what the document has no words for."""
    if response.status_code == 400 and any(words in response.text for words in UNSAYABLE):
        return None
    return positive_data_acceptance(context, response, case)


def refuses_what_is_not(context: CheckContext, response: Response, case: schemathesis.Case[Any]) -> bool | None:
    """`negative_data_rejection`, but for headers that nobody knows, which HTTP has everybody pass over."""
    if any(name.lower() == UNKNOWN_HEADER for name in case.headers or ()):
        return None
    return negative_data_rejection(context, response, case)


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    refuses_what_is_not,
    accepts_what_is_valid,
]
UNKNOWN_HEADER = "x-schemathesis-unknown-property"
EXAMPLES = 25

schema = schemathesis.openapi.from_dict(DOCUMENT)


class AnyName(dict[str, Namespace]):
    """Every name that can be, is a namespace: so that generated requests reach the shards."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and NAME_PATTERN.match(name) is not None


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    caller = Caller()
    namespaces = Namespaces(1, tuple(caller.backend.policies.values()))
    namespaces.by_name = AnyName(namespaces.by_name)
    caller.backend.namespaces = lambda: namespaces  # type: ignore[method-assign]
    yield f"http://127.0.0.1:{caller.server.port}"
    assert caller.alive()
    caller.close()


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_as_documented(case: schemathesis.Case[Any], base_url: str) -> None:
    response = case.call(base_url=base_url)
    case.validate_response(response, checks=CHECKS)
