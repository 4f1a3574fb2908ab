package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/platform-io/database-operator/pkg/agent"
)

// A server on trial.
//
// The server has no way to check a configuration but to start with it. So one is started beside the
// real one: in a folder of its own, without data, without a port, known to nobody but the agent. It
// either says what it does not accept, and ends, or answers; then it tells every setting as it took it.
// It is killed afterwards.

// trialPoll is how often a server that was just started is asked.
const trialPoll = 10 * time.Millisecond

// try starts a server with these arguments, and lets use ask it, once it answers. What the server
// refuses is an *agent.Refusal.
func (d *Driver) try(ctx context.Context, args []string, use func(context.Context, *redis.Client) error) error {
	path, err := binaryPath()
	if err != nil {
		return err
	}
	d.trial.Lock()
	defer d.trial.Unlock()
	dir := filepath.Join(d.RunDir, "trial")
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		return fmt.Errorf("make a folder for a server on trial: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	acl, socket := filepath.Join(dir, "users.acl"), filepath.Join(dir, "s")
	if err := os.WriteFile(acl, []byte(d.ownACL()), 0o600); err != nil {
		return fmt.Errorf("write the accounts of a server on trial: %w", err)
	}
	alive, kill := context.WithCancel(ctx)
	defer kill()
	args = append(args, "--port", "0", "--unixsocket", socket, "--unixsocketperm", "700", "--aclfile", acl)
	cmd := command(alive, path, args...)
	cmd.Dir = dir
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	var end error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		end = d.Supervisor.Command(cmd)
	}()

	client := d.newClient(socket)
	defer func() { _ = client.Close() }()
	answers, err := waitAnswer(ctx, client, ended)
	if answers {
		err = use(ctx, client)
	}
	kill()
	<-ended
	if !answers && err == nil {
		return describeEnd(end, output.String())
	}
	return err
}

// waitAnswer waits until the server answers, or ends by itself.
func waitAnswer(ctx context.Context, client *redis.Client, ended <-chan struct{}) (answers bool, err error) {
	ticker := time.NewTicker(trialPoll)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			return false, nil
		case <-ctx.Done():
			return false, fmt.Errorf("wait for a server on trial: %w", ctx.Err())
		case <-ticker.C:
		}
		if client.Ping(ctx).Err() == nil {
			return true, nil
		}
	}
}

// fatalConfig is what the server says of a file that it does not accept, over several lines: the line's
// number, the line, and the reason.
var fatalConfig = regexp.MustCompile(`(?s)FATAL CONFIG FILE ERROR[^\n]*\nReading the configuration file, at line \d+\n>>> '(.*?)'\n(.*)`)

// unresolved is what it says, from version 8 on, of a name that it does not know and takes for a module's.
var unresolved = regexp.MustCompile(`Unresolved Configuration\(s\) Detected:[^>]*>>> '(\S+)`)

// describeEnd says why a server on trial ended by itself.
func describeEnd(err error, output string) error {
	if refusal := parseRefusal(output); refusal != nil {
		return refusal
	}
	if err == nil {
		err = errors.New("it ended")
	}
	return fmt.Errorf("start a server on trial: %w: %s", err, lastLines(output))
}

// parseRefusal reads the server's words about a file, or nothing when it complains of something else.
func parseRefusal(output string) *agent.Refusal {
	if match := unresolved.FindStringSubmatch(output); match != nil {
		return &agent.Refusal{Setting: strings.Trim(match[1], `"'`), Words: "there is no such setting"}
	}
	match := fatalConfig.FindStringSubmatch(output)
	if match == nil {
		return nil
	}
	name, _, _ := strings.Cut(match[1], " ")
	return &agent.Refusal{Setting: strings.Trim(name, `"`), Words: strings.Join(strings.Fields(match[2]), " ")}
}

// lastLines is the end of a program's messages, which says why it failed.
func lastLines(messages string) string {
	lines := strings.Split(strings.TrimSpace(messages), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}
