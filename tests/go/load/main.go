// Command load puts and gets keys with etcd's own Go client until its standard input ends, and
// tells how many calls were made, how many of them took more than one try, and how many failed.
//
//	load ENDPOINT…
//
// The client retries reads by itself. A put is tried again here, with the same value, when the
// client says that the server was unavailable: that is safe, as it would have the same effect.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	workers = 8
	// callMax bounds a call with all its tries, and tryMax one try: a quorum elects within a second.
	callMax = 30 * time.Second
	tryMax  = 5 * time.Second
	// pause is between two tries of a call, so that tries during an election do not fill a core.
	pause = 20 * time.Millisecond
)

type account struct {
	calls, retried, failed atomic.Int64
}

// try makes a call until it succeeds, fails for good, or took too long.
func (account *account) try(call func(context.Context) error) {
	begin := time.Now()
	account.calls.Add(1)
	for tries := 1; ; tries++ {
		ctx, cancel := context.WithTimeout(context.Background(), tryMax)
		err := call(ctx)
		cancel()
		if err == nil {
			if tries > 1 {
				account.retried.Add(1)
			}
			return
		}
		code := status.Code(err)
		again := code == codes.Unavailable || code == codes.DeadlineExceeded || ctx.Err() != nil
		if !again || time.Since(begin) > callMax {
			account.failed.Add(1)
			fmt.Fprintf(os.Stderr, "a call failed after %d tries: %v\n", tries, err)
			return
		}
		time.Sleep(pause)
	}
}

func (account *account) work(client *clientv3.Client, worker int, stop *atomic.Bool) {
	for number := 0; !stop.Load(); number++ {
		key, value := fmt.Sprintf("go/%d/%08d", worker, number), fmt.Sprint(number)
		account.try(func(ctx context.Context) error {
			_, err := client.Put(ctx, key, value)
			return err
		})
		account.try(func(ctx context.Context) error {
			got, err := client.Get(ctx, key)
			if err == nil && (len(got.Kvs) != 1 || string(got.Kvs[0].Value) != value) {
				return fmt.Errorf("%s was put and is not there", key)
			}
			return err
		})
	}
}

func main() {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   os.Args[1:],
		DialTimeout: callMax,
		Logger:      zap.NewNop(),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var account account
	var stop atomic.Bool
	var group sync.WaitGroup
	for worker := range workers {
		group.Add(1)
		go func() {
			defer group.Done()
			account.work(client, worker, &stop)
		}()
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	stop.Store(true)
	group.Wait()
	calls, failed := account.calls.Load(), account.failed.Load()
	fmt.Printf("%d calls, %d retried, %d failed\n", calls, account.retried.Load(), failed)
	if failed > 0 || calls == 0 {
		os.Exit(1)
	}
}
