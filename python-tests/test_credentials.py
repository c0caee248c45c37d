"""A user and a password for Redis from a function."""

import pytest
import quark
import quark.blocking

#: The default user of a Redis without a password takes any.
PASSWORD = "canary-python"


async def test_they_are_asked_for_before_a_connection(redis_url, cluster_name):
    asked = []

    def give():
        asked.append(None)
        return ("default", PASSWORD)

    async with quark.Silo("a", membership=redis_url, cluster=cluster_name, redis_credentials=give, handler=bytes) as silo:
        assert [info.silo_id for info in silo.silos()] == ["a"]
    assert asked


def test_a_password_alone_is_of_the_default_user(redis_url, cluster_name):
    options = {"membership": redis_url, "cluster": cluster_name, "redis_credentials": lambda: PASSWORD}
    # This Redis has none for it, and says so.
    with pytest.raises(quark.MembershipUnavailableError, match="without any password configured for the default user"):
        quark.blocking.Silo("a", **options).start()
    with quark.blocking.Client(**{**options, "redis_credentials": lambda: ("default", PASSWORD)}) as client:
        assert client.silos() == []


async def test_what_it_raises_is_the_reason(redis_url, cluster_name):
    def sealed():
        raise ValueError("the vault is sealed")

    silo = quark.Silo("a", membership=redis_url, cluster=cluster_name, redis_credentials=sealed, start_timeout=0.3)
    with pytest.raises(quark.MembershipUnavailableError, match="redis_credentials: ValueError: the vault is sealed"):
        await silo.start()


@pytest.mark.parametrize("given", [None, 7, b"bytes", ("u", "canary-p", 3), (PASSWORD, None)], ids=str)
async def test_what_is_no_password_is_refused_and_not_shown(redis_url, cluster_name, given):
    options = {"membership": redis_url, "cluster": cluster_name, "start_timeout": 0.3}
    silo = quark.Silo("a", redis_credentials=lambda: given, **options)
    with pytest.raises(quark.MembershipUnavailableError, match="must give a password or") as caught:
        await silo.start()
    assert "canary" not in str(caught.value)


async def test_it_is_refused_where_it_would_not_be_asked():
    with pytest.raises(TypeError, match="redis_credentials='x': must be callable, not str"):
        quark.Silo("a", membership="redis://127.0.0.1:1", redis_credentials="x")
    for url in ("gossip://127.0.0.1:0", "redis://u:canary-url@127.0.0.1:1"):
        with pytest.raises(quark.InvalidArgumentError, match="redis_credentials="):
            await quark.Silo("a", membership=url, redis_credentials=lambda: PASSWORD).start()
