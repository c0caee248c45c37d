"""Fixtures that every Python test may use."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from typing import Iterator

import pytest

import redis_for_tests


@pytest.fixture(scope="session")
def redis_for_session() -> Iterator[redis_for_tests.RedisForTests]:
    """The Redis of this run: the given one (QUARK_TEST_REDIS), else one of its own."""
    given = os.environ.get("QUARK_TEST_REDIS")
    if given:
        yield redis_for_tests.RedisForTests(given, redis_for_tests.find_server(), "given by QUARK_TEST_REDIS")
    else:
        with redis_for_tests.running_redis() as redis:
            yield redis


@pytest.fixture(scope="session")
def redis_url(redis_for_session: redis_for_tests.RedisForTests) -> str:
    """The URL of a Redis that all tests share: use a `cluster_name` of your own, and never flush it."""
    return redis_for_session.url


@pytest.fixture(scope="session")
def redis_server(redis_for_session: redis_for_tests.RedisForTests) -> str:
    """The path of a redis-server binary, for tests that stop, restart or flush one of their own."""
    return redis_for_session.server


@pytest.fixture
def cluster_name() -> str:
    """A cluster name that no other test has."""
    return f"test-{secrets.token_hex(6)}"


if sys.version_info < (3, 10):

    @pytest.fixture(scope="session", autouse=True)
    def loop_to_restore() -> Iterator[None]:
        """The last pytest-asyncio for 3.9 makes a loop where it finds none, and nobody would close that one."""
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        yield
        loop.close()
