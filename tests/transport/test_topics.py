"""Topics: distinct for everything that must not be mixed up, and nothing that MQTT would misread."""

import pytest

from workbench.errors import ConfigurationError
from workbench.transport.topics import NAMESPACE, Topics


def every_topic(topics: Topics) -> list[str]:
    return [
        topics.log_of("replica-1"),
        topics.log_of("replica-2"),
        topics.replica_inbox("replica-1"),
        topics.replica_inbox("replica-2"),
        topics.replica_control("replica-1"),
        topics.clients(),
        topics.client_inbox("replica-1"),
        topics.client_inbox("c2"),
        topics.client_inbox("clients"),
    ]


def test_topics_of_one_partition_are_distinct_and_below_the_namespace_of_their_cluster():
    topics = every_topic(Topics("c1"))
    assert len(set(topics)) == len(topics)
    assert all(topic.startswith(f"{NAMESPACE}/c1/") for topic in topics)


def test_clusters_share_no_topic():
    assert not set(every_topic(Topics("c1"))) & set(every_topic(Topics("c2")))


def test_partitions_share_only_the_inboxes_of_clients():
    shared = set(every_topic(Topics("c1", "p0"))) & set(every_topic(Topics("c1", "p1")))
    assert shared == {Topics("c1").client_inbox(name) for name in ("replica-1", "c2", "clients")}


def test_no_name_of_a_client_or_partition_leads_to_what_all_clients_are_told():
    names = ("all", "client", "clients", "inbox", "p0", "replica")
    inboxes = {Topics("c1", partition).client_inbox(name) for name in names for partition in names}
    told = [Topics("c1", partition).clients() for partition in names]
    assert len(set(told)) == len(names)
    assert not inboxes & set(told)


@pytest.mark.parametrize("name", ["", "a/b", "+", "a#", "$SYS", "a b", "ä", "-a", "a\n", "a\0", "x" * 65])
def test_names_that_mqtt_would_misread_are_refused(name: str):
    topics = Topics("c1")
    for make in (Topics, topics.log_of, topics.replica_inbox, topics.replica_control, topics.client_inbox):
        with pytest.raises(ConfigurationError, match="cannot be part of a topic"):
            make(name)
    with pytest.raises(ConfigurationError):
        Topics("c1", name)
