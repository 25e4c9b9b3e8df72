// Package client checks with etcd's own Go client that one client may keep thousands of leases,
// and that users may do what their roles say.
//
// A keep-alive of that client sends one small frame for each lease, all on one stream and in one
// burst. The node is started here; TENURED names the program. Run it with `make go-client`.
package client

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	leases = 15_000
	// ttl is what each lease is granted, and periods how many of them it is kept for.
	ttl     = 10 * time.Second
	periods = 3
	// grantsAtOnce bounds the grants under way.
	grantsAtOnce = 256
	// readyMax is the longest that a node may take to serve.
	readyMax = 60 * time.Second
)

// freeAddress is an address on loopback that nothing listens on.
func freeAddress(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// startNode starts a node of one and returns its client address.
func startNode(t *testing.T) string {
	program := os.Getenv("TENURED")
	if program == "" {
		t.Fatal("TENURED names no program; run this with `make go-client`")
	}
	client, peer := freeAddress(t), freeAddress(t)
	directory := t.TempDir()
	log, err := os.Create(filepath.Join(directory, "log"))
	if err != nil {
		t.Fatal(err)
	}
	node := exec.Command(program,
		"--name", "m0",
		"--data-dir", filepath.Join(directory, "data"),
		"--listen-client-urls", "http://"+client,
		"--advertise-client-urls", "http://"+client,
		"--listen-peer-urls", "http://"+peer,
		"--initial-advertise-peer-urls", "http://"+peer,
		"--initial-cluster", "m0=http://"+peer)
	node.Stdout, node.Stderr = log, log
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = node.Process.Kill()
		_ = node.Wait()
		_ = log.Close()
	})
	return client
}

func connect(t *testing.T, address string) *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{address},
		DialTimeout: readyMax,
		Logger:      zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	begin := time.Now()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := client.Get(ctx, "ready")
		cancel()
		if err == nil {
			return client
		}
		if time.Since(begin) > readyMax {
			t.Fatalf("the node does not serve: %v", err)
		}
	}
}

func grantAll(t *testing.T, client *clientv3.Client) []clientv3.LeaseID {
	ids := make([]clientv3.LeaseID, leases)
	errs := make(chan error, leases)
	slots := make(chan struct{}, grantsAtOnce)
	var group sync.WaitGroup
	for i := range ids {
		group.Add(1)
		slots <- struct{}{}
		go func() {
			defer group.Done()
			defer func() { <-slots }()
			granted, err := client.Grant(context.Background(), int64(ttl.Seconds()))
			if err != nil {
				errs <- err
				return
			}
			ids[i] = granted.ID
			// Kept from the first moment, as a program does that grants one lease after the other.
			if err := keep(client, granted.ID); err != nil {
				errs <- err
			}
		}()
	}
	group.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
	return ids
}

var ended atomic.Int64

// keep renews a lease in the background and counts when that ends.
func keep(client *clientv3.Client, id clientv3.LeaseID) error {
	renewals, err := client.KeepAlive(context.Background(), id)
	if err != nil {
		return fmt.Errorf("lease %x: %w", id, err)
	}
	go func() {
		for range renewals {
		}
		ended.Add(1)
	}()
	return nil
}

func TestOneClientKeepsFifteenThousandLeases(t *testing.T) {
	client := connect(t, startNode(t))
	ids := grantAll(t, client)
	time.Sleep(periods * ttl)
	if lost := ended.Load(); lost > 0 {
		t.Errorf("%d of %d keep-alives ended", lost, leases)
	}
	listed, err := client.Leases(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	alive := make(map[clientv3.LeaseID]bool, len(listed.Leases))
	for _, lease := range listed.Leases {
		alive[lease.ID] = true
	}
	lost := 0
	for _, id := range ids {
		if !alive[id] {
			lost++
		}
	}
	t.Logf("%d leases kept for %v, %d lost", leases, periods*ttl, lost)
	if lost > 0 {
		t.Errorf("%d of %d leases were lost", lost, leases)
	}
}
