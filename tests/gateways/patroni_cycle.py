"""The life of a Patroni cluster on its etcd3 module, which speaks JSON: register, lead, be followed.

Takes the client addresses of a quorum, comma-separated.
"""

import sys
import time

from patroni.dcs.etcd3 import Etcd3
from patroni.postgresql.mpp import get_mpp


def member(hosts, name):
    """The connection of one database server."""
    config = {
        "scope": "batman",
        "namespace": "/service",
        "name": name,
        "hosts": hosts,
        "protocol": "http",
        "ttl": 30,
        "loop_wait": 10,
        "retry_timeout": 10,
    }
    return Etcd3(config, get_mpp({}))


def wait_until(what, state):
    """Waits for a state that the watch brings."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = state()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("not reached: " + what)


def main():
    hosts = sys.argv[1].split(",")
    first, second = member(hosts, "a"), member(hosts, "b")
    assert first.initialize(create_new=True, sysid="17")
    assert not second.initialize(create_new=True, sysid="18"), "initialized twice"
    assert first.set_config_value('{"ttl": 30}')
    for dcs, name in ((first, "a"), (second, "b")):
        data = {"conn_url": "postgres://" + name, "state": "running", "role": "replica"}
        assert dcs.touch_member(data)
    assert first.attempt_to_acquire_leader()
    assert not second.attempt_to_acquire_leader(), "two leaders"

    cluster = wait_until("b sees a lead", lambda: led_by(second, "a"))
    assert cluster.initialize == "17", cluster
    assert {it.name for it in cluster.members} == {"a", "b"}, cluster
    assert first.update_leader(first.get_cluster(), 1000)
    wait_until("b sees the position", lambda: second.get_cluster().status.last_lsn == 1000)
    assert second.manual_failover("a", "b")
    wait_until("a sees the failover", lambda: first.get_cluster().failover)

    assert first.delete_leader(first.get_cluster().leader)
    wait_until("b sees no leader", lambda: second.get_cluster().is_unlocked())
    assert second.attempt_to_acquire_leader()
    wait_until("a sees b lead", lambda: led_by(first, "b"))
    assert first.delete_cluster()
    print("Patroni: initialized, led, failed over, removed")


def led_by(dcs, name):
    cluster = dcs.get_cluster()
    return cluster if cluster.leader and cluster.leader.name == name else None


main()
