package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
)

const (
	password = "correct horse"
	// callMax bounds one call, and told is how long a watch may take to tell of a change.
	callMax = 10 * time.Second
	told    = 10 * time.Second
)

// as logs in as a user; nobody is an empty name.
func as(t *testing.T, address, user, password string) (*clientv3.Client, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{address},
		DialTimeout: callMax,
		Username:    user,
		Password:    password,
		Logger:      zap.NewNop(),
	})
	if err == nil {
		t.Cleanup(func() { _ = client.Close() })
	}
	return client, err
}

func mustBe(t *testing.T, address, user string) *clientv3.Client {
	t.Helper()
	client, err := as(t, address, user, password)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// refused asserts that a call fails with one of etcd's errors.
func refused(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(rpctypes.Error(err), want) {
		t.Errorf("%s: %v, and not %v", what, err, want)
	}
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// addUser adds a user, waiting until the cluster has the feature: a fresh one takes a moment.
func addUser(t *testing.T, ctx context.Context, client *clientv3.Client, name string) {
	t.Helper()
	begin := time.Now()
	for {
		_, err := client.UserAdd(ctx, name, password)
		if err == nil {
			return
		}
		if time.Since(begin) > readyMax {
			t.Fatalf("user %s: %v", name, err)
		}
	}
}

// startUsers starts a node with root, and ann who may read and write below a/.
func startUsers(t *testing.T, ctx context.Context) string {
	address := startNode(t)
	anyone := connect(t, address)
	addUser(t, ctx, anyone, "root")
	addUser(t, ctx, anyone, "ann")
	_, err := anyone.UserGrantRole(ctx, "root", "root")
	must(t, "grant root", err)
	_, err = anyone.RoleAdd(ctx, "app")
	must(t, "role", err)
	all := clientv3.PermissionType(clientv3.PermReadWrite)
	_, err = anyone.RoleGrantPermission(ctx, "app", "a/", clientv3.GetPrefixRangeEnd("a/"), all)
	must(t, "permission", err)
	_, err = anyone.UserGrantRole(ctx, "ann", "app")
	must(t, "grant app", err)
	_, err = anyone.AuthEnable(ctx)
	must(t, "enable", err)
	return address
}

func TestUsersOfTheGoClientMayDoWhatTheirRolesSay(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), readyMax)
	defer cancel()
	address := startUsers(t, ctx)

	_, err := as(t, address, "ann", "wrong")
	refused(t, "a wrong password", err, rpctypes.ErrAuthFailed)
	nobody, err := as(t, address, "", "")
	must(t, "connect without a name", err)
	_, err = nobody.Get(ctx, "a/1")
	refused(t, "a read of nobody", err, rpctypes.ErrUserEmpty)

	ann := mustBe(t, address, "ann")
	_, err = ann.Put(ctx, "a/1", "1")
	must(t, "a put within the role", err)
	_, err = ann.Put(ctx, "b/1", "1")
	refused(t, "a put outside the role", err, rpctypes.ErrPermissionDenied)
	_, err = ann.Txn(ctx).Then(clientv3.OpPut("a/2", "2"), clientv3.OpGet("b/1")).Commit()
	refused(t, "a transaction that reads outside", err, rpctypes.ErrPermissionDenied)
	_, err = ann.UserList(ctx)
	refused(t, "a list of users", err, rpctypes.ErrPermissionDenied)

	session, err := concurrency.NewSession(ann, concurrency.WithTTL(10))
	must(t, "session", err)
	mutex := concurrency.NewMutex(session, "a/lock")
	must(t, "lock", mutex.Lock(ctx))
	must(t, "unlock", mutex.Unlock(ctx))
	must(t, "end of the session", session.Close())
}

// The client logs in again when its token is no longer good, also for a watch.
func TestTheGoClientLogsInAgainAndItsWatchesEndWithTheRole(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), readyMax)
	defer cancel()
	address := startUsers(t, ctx)
	root, ann := mustBe(t, address, "root"), mustBe(t, address, "ann")

	watching := ann.Watch(ctx, "a/", clientv3.WithPrefix())
	_, err := root.Put(ctx, "a/1", "seen")
	must(t, "put", err)
	event(t, watching, "seen")

	// Every token ends with a password, and with an answer of the client's own.
	_, err = root.UserChangePassword(ctx, "ann", "another")
	must(t, "password", err)
	_, err = ann.Get(ctx, "a/1")
	refused(t, "a read after the password changed", err, rpctypes.ErrAuthFailed)
	_, err = root.UserChangePassword(ctx, "ann", password)
	must(t, "the old password", err)
	_, err = ann.Get(ctx, "a/1")
	must(t, "a read after logging in again", err)

	watching = ann.Watch(ctx, "a/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	if created := <-watching; !created.Created {
		t.Fatalf("the watch was not created: %v", created.Err())
	}
	_, err = root.UserRevokeRole(ctx, "ann", "app")
	must(t, "revoke", err)
	_, err = root.Put(ctx, "a/1", "hidden")
	must(t, "put", err)
	ended := time.After(told)
	for {
		select {
		case answer, open := <-watching:
			for _, seen := range answer.Events {
				t.Fatalf("%s was shown after the role was revoked", seen.Kv.Value)
			}
			if !open || answer.Canceled {
				return
			}
		case <-ended:
			t.Fatal("the watch did not end with the role")
		}
	}
}

// event waits for a value on a watch.
func event(t *testing.T, watching clientv3.WatchChan, value string) {
	t.Helper()
	limit := time.After(told)
	for {
		select {
		case answer, open := <-watching:
			if !open || answer.Err() != nil {
				t.Fatalf("the watch ended: %v", answer.Err())
			}
			for _, seen := range answer.Events {
				if string(seen.Kv.Value) == value {
					return
				}
			}
		case <-limit:
			t.Fatalf("%q was not told", value)
		}
	}
}
