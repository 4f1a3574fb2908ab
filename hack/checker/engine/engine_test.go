package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
)

func TestErrorsAreSorted(t *testing.T) {
	system := func(errno syscall.Errno) error {
		return &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", errno)}
	}
	for want, err := range map[string]error{
		"name not resolved": &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsTimeout: true}},
		"refused":           system(syscall.ECONNREFUSED),
		"reset":             system(syscall.ECONNRESET),
		"unreachable":       system(syscall.EHOSTUNREACH),
		"closed":            io.ErrUnexpectedEOF,
		"timeout":           context.DeadlineExceeded,
		"other":             errors.New("?"),
	} {
		if got := Reason(fmt.Errorf("connect: %w", err)); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
	if got := Reason(system(syscall.ETIMEDOUT)); got != "timeout" {
		t.Errorf("what the transport gave up is %q", got)
	}
}
