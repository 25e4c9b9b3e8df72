"""The calls of OpenStack's client of the JSON gateway: keys, leases, locks, transactions, watches.

Takes the client address of one node.
"""

import sys
import threading

import etcd3gw
from etcd3gw.utils import _encode


def main():
    host, port = sys.argv[1].split(":")
    client = etcd3gw.client(host=host, port=int(port), api_path="/v3/")
    assert client.status()["version"]
    assert client.members()
    assert client.put("foo", "bar")
    assert client.get("foo") == [b"bar"]
    assert client.create("foo", "baz") is False
    assert client.replace("foo", "bar", "baz")
    assert client.get_prefix("fo")[0][0] == b"baz"

    lease = client.lease(ttl=60)
    assert client.put("leased", "x", lease=lease)
    assert lease.keys() == [b"leased"], lease.keys()
    assert 0 < lease.ttl() <= 60
    assert lease.refresh() == 60
    assert lease.revoke()
    assert client.get("leased") == []

    lock = client.lock("job", ttl=30)
    assert lock.acquire()
    assert lock.is_acquired()
    assert not client.lock("job", ttl=30).acquire(), "held twice"
    assert lock.release()

    done = client.transaction({
        "compare": [{"key": _encode("foo"), "result": "EQUAL", "target": "VALUE",
                     "value": _encode("baz")}],
        "success": [{"request_put": {"key": _encode("foo"), "value": _encode("done")}}],
        "failure": [],
    })
    assert done["succeeded"]

    events, cancel = client.watch("watched")
    writer = threading.Timer(0.2, lambda: client.put("watched", "seen"))
    writer.start()
    event = next(iter(events))
    assert event["kv"]["value"] == b"seen", event
    cancel()
    writer.join()
    assert client.delete("foo")
    try:
        client.transaction({"success": [{"request_put": {}}]})
    except etcd3gw.exceptions.Etcd3Exception as error:
        assert "key is not provided" in error.detail_text, error.detail_text
    else:
        raise AssertionError("an empty key was put")
    print("etcd3gw: keys, leases, locks, transactions, watches")


main()
