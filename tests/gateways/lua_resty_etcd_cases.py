"""APISIX's client, lua-resty-etcd, in an nginx, against quorums that this starts.

LUA_RESTY_ETCD names a checkout of it, LUA_LIBRARIES the directories of what it needs, separated by
colons (api7's lua-resty-http, lua-typeof; Debian has the others), and TENURED and TENURECTL the
programs. The calls are in lua_resty_etcd.lua.
"""

import glob
import http.client
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile

from nodes import COMMAND_MAX_SECONDS, Quorum, make_certificates, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = "/usr/lib/nginx/modules"
USER, PASSWORD = "apisix", "apisix-password"
PLAIN_GROUPS = ("version", "keys", "transactions", "leases", "watches", "progress", "compaction")


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket of the file system."""

    def __init__(self, path):
        super().__init__("localhost", timeout=COMMAND_MAX_SECONDS * 2)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Nginx:
    """An nginx with the client in it, below a directory of its own."""

    def __init__(self, directory, authority):
        self.directory = tempfile.mkdtemp(dir=directory)
        libraries = [HERE, os.path.join(os.environ["LUA_RESTY_ETCD"], "lib")]
        libraries += [it for it in os.environ.get("LUA_LIBRARIES", "").split(":") if it]
        with open(os.path.join(HERE, "lua_resty_etcd.conf"), encoding="utf-8") as file:
            text = file.read()
        modules = [it for name in ("ndk_http_module", "ngx_http_lua_module")
                   for it in glob.glob(f"{MODULES}/{name}.so")]
        for word, value in (
                ("LOAD_MODULES", "\n".join(f"load_module {it};" for it in modules)),
                ("USER", pwd.getpwuid(os.getuid()).pw_name),
                ("DIRECTORY", self.directory),
                ("LUA_PATH", ";".join(f"{it}/?.lua" for it in libraries)),
                ("AUTHORITY", authority)):
            text = text.replace(f"@{word}@", value)
        self.configuration = os.path.join(self.directory, "nginx.conf")
        with open(self.configuration, "w", encoding="utf-8") as file:
            file.write(text)

    def __enter__(self):
        self.process = subprocess.Popen(
            [program(), "-p", self.directory, "-e", os.path.join(self.directory, "error.log"),
             "-c", self.configuration])
        wait_until("nginx serves", self.connects)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(COMMAND_MAX_SECONDS)

    def socket_path(self):
        return os.path.join(self.directory, "calls.sock")

    def connects(self):
        assert self.process.poll() is None, self.errors()
        connection = UnixConnection(self.socket_path())
        connection.connect()
        connection.close()
        return True

    def errors(self):
        with open(os.path.join(self.directory, "error.log"), encoding="utf-8") as log:
            return log.read()

    def run(self, group, **options):
        """Runs a group of calls; prints what was seen, and fails with what was not."""
        connection = UnixConnection(self.socket_path())
        connection.request("POST", "/" + group, json.dumps(options))
        response = connection.getresponse()
        told = response.read().decode()
        connection.close()
        for line in told.splitlines():
            print("lua-resty-etcd", line, flush=True)
        if response.status != 200:
            print(self.errors()[-4000:], file=sys.stderr)
            raise AssertionError(f"{group}: status {response.status}")


def program():
    # On Debian in a directory that the path of users does not name.
    return shutil.which("nginx") or "/usr/sbin/nginx"


def plain(directory, authority):
    flags = ["--experimental-watch-progress-notify-interval", "1s"]
    with Quorum(directory, flags=flags) as quorum, Nginx(directory, authority) as nginx:
        hosts = quorum.endpoints()
        for group in PLAIN_GROUPS:
            nginx.run(group, hosts=hosts)
        killed = quorum.kill_leader()
        wait_until("another node leads", lambda: quorum.leader() + 1)
        nginx.run("node_down", hosts=hosts, down=hosts[killed])


def users(directory, authority):
    with Quorum(directory) as quorum, Nginx(directory, authority) as nginx:
        quorum.enable_users("root-password", {USER: (PASSWORD, "readwrite", "/users/")})
        nginx.run("users", hosts=quorum.endpoints(), user=USER, password=PASSWORD)


def secure(directory, authority):
    certificates = os.path.dirname(authority)
    with Quorum(directory, certificates) as quorum, Nginx(directory, authority) as nginx:
        for group in ("certificate", "version", "keys", "watches"):
            # nginx compares names of hosts alone, and no addresses.
            nginx.run(group, hosts=quorum.endpoints(), sni="localhost",
                      certificate=quorum.certificate("client.pem"),
                      key=quorum.certificate("client-key.pem"))


def main():
    for phase in (plain, users, secure):
        with tempfile.TemporaryDirectory() as directory:
            certificates = make_certificates(os.path.join(directory, "tls"))
            phase(directory, os.path.join(certificates, "ca.pem"))


main()
