//go:build integration

package driver

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	redistest "github.com/platform-io/database-operator/pkg/testing/redis"
)

// The tests run a real server. The end of one ends every process that this one started, so no two run
// at a time. A driver that is made anew on the same volume is that of another agent.

// limit is for what usually takes some milliseconds.
const limit = 30 * time.Second

var supervisor = sync.OnceValues(func() (*agent.Supervisor, error) {
	s, err := agent.NewSupervisor(klog.Background())
	if err == nil {
		go s.Run(context.Background())
	}
	return s, err
})

type instance struct {
	*testing.T
	*Driver
	dir    string
	engine agent.Engine

	mu  sync.Mutex
	log []agent.LogEntry
}

// newInstance has an empty volume.
func newInstance(t *testing.T, settings ...string) *instance {
	t.Helper()
	redistest.Require(t)
	// Short: the path of a socket has at most 107 bytes.
	dir, err := os.MkdirTemp("", "drv") //nolint:usetesting // t.TempDir() is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	i := &instance{T: t, dir: dir}
	for _, sub := range []string{"volume", "run", "config"} {
		i.must(os.Mkdir(i.path(sub), 0o700))
	}
	t.Cleanup(i.end)
	i.configure(settings...)
	i.newAgent()
	return i
}

// newAgent is what a container that is started again has.
func (i *instance) newAgent() {
	i.Helper()
	s, err := supervisor()
	i.must(err)
	port := freePort(i.T)
	i.Driver = New(Options{VolumeDir: i.path("volume"), RunDir: i.path("run"), Port: port, Supervisor: s, Log: func(e agent.LogEntry) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.log = append(i.log, e)
	}})
}

func (i *instance) end() {
	i.kill()
	if i.Failed() {
		i.mu.Lock()
		defer i.mu.Unlock()
		for _, e := range i.log {
			i.T.Log(e.Severity, e.Message)
		}
	}
	_ = os.RemoveAll(i.dir)
}

func (i *instance) path(names ...string) string {
	return filepath.Join(append([]string{i.dir}, names...)...)
}

func (i *instance) must(err error) {
	i.Helper()
	if err != nil {
		i.Fatal(err)
	}
}

// configure writes what the operator would render, on loopback.
func (i *instance) configure(settings ...string) {
	i.Helper()
	base := []string{"bind 127.0.0.1", "protected-mode no", "appendonly yes", "appendfsync everysec", `save ""`, `maxmemory "104857600"`}
	i.must(os.WriteFile(i.path("config", fileConf), []byte(strings.Join(append(base, settings...), "\n")+"\n"), 0o600))
}

// start starts the engine, and waits until it answers.
func (i *instance) start() {
	i.Helper()
	engine, err := i.Start(i.Context(), i.path("config"))
	i.must(err)
	i.engine = engine
	for begin := time.Now(); ; time.Sleep(trialPoll) {
		_, err := i.Probe(i.Context())
		if err == nil {
			return
		}
		select {
		case <-engine.Done():
			i.Fatalf("the engine ended: %v", engine.Err())
		default:
		}
		if time.Since(begin) > limit {
			i.Fatalf("the engine does not answer: %v", err)
		}
	}
}

// provision makes a database with an application account, and starts it.
func (i *instance) provision() *instance {
	i.Helper()
	i.must(i.Bootstrap(i.Context()))
	i.start()
	i.account("app", "secret")
	return i
}

// stop ends the engine, and returns how it ended.
func (i *instance) stop(mode agent.StopMode) error {
	i.Helper()
	i.engine.Stop(mode)
	select {
	case <-i.engine.Done():
	case <-time.After(limit):
		i.Fatal("the engine does not end")
	}
	return i.engine.Err()
}

func (i *instance) kill() {
	if i.engine != nil {
		_ = i.stop(agent.StopKill)
	}
}

func wish(name, password string) agent.Account {
	return agent.Account{Password: password, InstanceAccount: dbv1.InstanceAccount{
		Username: name, Roles: []string{roleApplication}, State: dbv1.AccountPresent,
	}}
}

func (i *instance) account(name, password string) {
	i.Helper()
	if result := i.Account(i.Context(), wish(name, password)); result.Err != nil || !result.Applied || !result.Verified {
		i.Fatalf("account %s: %+v", name, result)
	}
}

// connect is a client of the network.
func (i *instance) connect(name, password string) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: i.listen(), Username: name, Password: password, MaxRetries: -1, PoolSize: 1})
	i.Cleanup(func() { _ = client.Close() })
	return client
}

// setting is what the running server says.
func (i *instance) setting(name string) string {
	i.Helper()
	values, err := i.client.ConfigGet(i.Context(), name).Result()
	i.must(err)
	return values[name]
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}
