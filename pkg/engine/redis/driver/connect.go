package driver

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/platform-io/database-operator/pkg/agent"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// Connections of the agent. Each call has a context that ends it, and is tried once: who calls, tries
// again.

const connectTimeout = 5 * time.Second

// options are those of every connection.
func options(network, address, username, password string) *redis.Options {
	return &redis.Options{
		Network: network, Addr: address, Username: username, Password: password,
		ClientName: "database-agent", Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		MaxRetries:               -1, DialerRetries: 1, DialTimeout: connectTimeout,
		ContextTimeoutEnabled: true, ReadTimeout: -1, WriteTimeout: -1,
		// After as many failures in a row as the pool is large, the library pauses for a second: too long
		// for who waits until a server answers. No more connections than are needed are opened.
		PoolSize: 1000, MaxIdleConns: 2,
	}
}

// quiet drops what the library says by itself: each of its errors is returned, too.
type quiet struct{}

// Printf implements the library's interface.
func (quiet) Printf(context.Context, string, ...any) {}

var quieten = sync.OnceFunc(func() { redis.SetLogger(quiet{}) })

// newClient makes a client of the agent's own account. It connects when it is used, and again when the
// server was restarted.
func (d *Driver) newClient(socket string) *redis.Client {
	quieten()
	return redis.NewClient(options("unix", socket, agentUser, d.password))
}

// login comes in as a client would, over TCP.
func (d *Driver) login(ctx context.Context, username, password string) error {
	client := redis.NewClient(options("tcp", d.listen(), username, password))
	defer func() { _ = client.Close() }()
	if err := client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("log in at %s: %w", d.listen(), err)
	}
	return nil
}

// listen is the address of the TCP listener.
func (d *Driver) listen() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(d.Port)) }

// busyReply are the replies of a server that is up and takes no commands for now: it loads its data, runs a client's
// script, or has no connection left. A client that is being connected gets them, too.
var busyReply = regexp.MustCompile(`(^|: )(LOADING|BUSY|MASTERDOWN|ERR max number of clients) `)

// probeError tells those replies from silence, which settings may be the reason of.
func probeError(err error) error {
	if busyReply.MatchString(err.Error()) {
		err = fmt.Errorf("%w: %w", agent.ErrAlive, err)
	}
	return fmt.Errorf("ask the server: %w", err)
}

// Probe implements agent.Driver.
func (d *Driver) Probe(ctx context.Context) (agent.Report, error) {
	text, err := d.client.Info(ctx).Result()
	if err != nil {
		return agent.Report{}, probeError(err)
	}
	info := parseInfo(text)
	if info["loading"] != "0" {
		return agent.Report{}, fmt.Errorf("%w: it loads its data, %s %% so far", agent.ErrAlive, info["loading_loaded_perc"])
	}
	report := agent.Report{Role: dbv1.RoleReplica, ServerVersion: info["redis_version"], Trouble: trouble(info)}
	report.Engine = &dbv1.InstanceEngineStatus{Redis: &dbv1.RedisInstanceStatus{UsedMemoryBytes: d.usedMemory(info)}}
	if v := info["valkey_version"]; v != "" {
		report.ServerVersion = v
	}
	if info["role"] == "master" {
		report.Role = dbv1.RolePrimary
	}
	return report, nil
}

// fullPercent of maxmemory is where a write may be refused, depending on how much it needs.
const fullPercent = 99

// trouble is why a server that answers refuses writes.
func trouble(info map[string]string) string {
	most := number(info, "maxmemory")
	switch {
	case info["aof_last_write_status"] == "err":
		return "Writes are refused, because the append-only file cannot be written; see the server's log, and whether the volume is full"
	case info["rdb_last_bgsave_status"] == "err":
		return "The last snapshot failed, and writes are refused until one succeeds, unless stop-writes-on-bgsave-error is no; see the server's log, " +
			"and whether the volume is full"
	case most > 0 && info["maxmemory_policy"] == "noeviction" && number(info, "used_memory")-number(info, "mem_not_counted_for_evict") >= most/100*fullPercent:
		return "Writes that need memory are refused: data takes all of maxmemory, and maxmemory-policy is noeviction; " +
			"remove data, or raise spec.resources.limits.memory"
	}
	return ""
}

// memoryStep is by how many percent of maxmemory used memory differs when it is told anew: it changes all the time.
const memoryStep = 5

func (d *Driver) usedMemory(info map[string]string) int64 {
	used, told := number(info, "used_memory"), d.toldMemory.Load()
	if step := number(info, "maxmemory") / 100 * memoryStep; told == 0 || used-told > step || told-used > step {
		told = used
		d.toldMemory.Store(told)
	}
	return told
}

// number is one of INFO; what is not there is 0.
func number(info map[string]string, name string) int64 {
	n, _ := strconv.ParseInt(info[name], 10, 64)
	return n
}

// parseInfo reads the lines "name:value" of INFO.
func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			info[name] = value
		}
	}
	return info
}
