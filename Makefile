# Every target is one line; what it does is in .ci/ or in cargo.
# CARGO_TARGET_DIR chooses where build products go; the default is ./target.

.PHONY: build run test check bench slow-disk power-loss damage go-client delays failover hostile members planted large-backup gateways etcd-tests deb upgrade manifests

# The server and the command line, optimised: $CARGO_TARGET_DIR/release/{tenured,tenurectl}.
build:
	@bash .ci/build.sh

# Three nodes on this machine, with their data below ./data, until Ctrl-C.
run:
	@bash .ci/quorum.sh

# Everything that must pass.
test:
	@bash .ci/test.sh

# What a reader would otherwise have to notice: form, lints, rustdoc, house rules.
check:
	@bash .ci/check.sh

# The load generator against optimised nodes.
bench:
	@bash .ci/bench.sh

# Nodes killed on slow disks: five delays, four loads, leader and follower.
slow-disk:
	@bash .ci/slow-disk.sh

# A hundred power cuts under load, on file systems of their own; needs the right to mount.
power-loss:
	@bash .ci/power-loss.sh

# Every file of a data directory damaged in every way.
damage:
	@bash .ci/damage.sh

# Leases by the thousand and users, by one client of etcd's Go library. Needs Go and its module proxy.
go-client:
	@bash .ci/go-client.sh

# Patroni and etcd3gw, from PyPI, against a quorum over its JSON gateway.
gateways:
	@bash .ci/gateways.sh

# etcd's own tests, with tenured under the name etcd. Needs Go and its module proxy.
etcd-tests:
	@bash .ci/etcd-tests.sh

# Two hundred reads while packets between the nodes are late; DELAYS=n for another number.
delays:
	@bash .ci/delays.sh

# How soon writing goes on after the leader was killed, beside etcd.
failover:
	@bash .ci/failover.sh

# Two hundred changes of the membership among faults, under clients whose history is checked.
members:
	@bash .ci/members.sh

# Two mistakes that the check of `make members` must find, in nodes built with them.
planted:
	@bash .ci/planted.sh

# A million keys through snapshots, to a real etcd and back.
large-backup:
	@bash .ci/large-backup.sh

# One hostile client against three nodes of 2 GiB, beside etcd; needs the right to bound memory.
hostile:
	@bash .ci/hostile.sh

# The Debian package: $CARGO_TARGET_DIR/deb/tenure_*.deb. TENURED and TENURECTL name built programs.
deb:
	@bash .ci/deb.sh

# A quorum of an earlier version is upgraded under load, one node after the other.
upgrade:
	@bash .ci/upgrade.sh

# The files of deploy/, read by Kubernetes' types and the loader of docker compose. Needs Go.
manifests:
	@bash .ci/manifests.sh
