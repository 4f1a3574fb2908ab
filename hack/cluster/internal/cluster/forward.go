// The forwarder, by which the host reaches the API server although no route leads there.

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// ForwardCommand is the (hidden) subcommand of this program that calls Forward with its only argument.
const ForwardCommand = "forward"

// listenerFD is the file descriptor of the inherited listener.
const listenerFD = 3

// Forward passes every connection of the inherited listener on to the address. It ends when the listener fails.
func Forward(ctx context.Context, address string) error {
	listener, err := net.FileListener(os.NewFile(listenerFD, "listener"))
	if err != nil {
		return fmt.Errorf("inheriting the listener: %w", err)
	}
	for {
		outside, err := listener.Accept()
		if err != nil {
			return fmt.Errorf("accepting a connection: %w", err)
		}
		go forward(ctx, outside, address)
	}
}

func forward(ctx context.Context, outside net.Conn, address string) {
	defer func() { _ = outside.Close() }()
	dialer := net.Dialer{Timeout: 5 * time.Second}
	inside, err := dialer.DialContext(ctx, "tcp4", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, "connecting:", err)
		return
	}
	defer func() { _ = inside.Close() }()
	var both sync.WaitGroup
	both.Go(func() { pass(inside, outside) })
	both.Go(func() { pass(outside, inside) })
	both.Wait()
}

// pass copies until one side has no more to say, and tells the other side so, which may go on answering.
func pass(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if err == nil {
		_ = to.(*net.TCPConn).CloseWrite()
		return
	}
	if !errors.Is(err, net.ErrClosed) {
		_ = to.Close() // broken: let go of both
		_ = from.Close()
	}
}
