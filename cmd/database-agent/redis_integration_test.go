//go:build integration

package main

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"k8s.io/apimachinery/pkg/api/meta"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	redistest "github.com/platform-io/database-operator/pkg/testing/redis"
)

// redisConfig is what the operator would render, on loopback.
func redisConfig(settings ...string) map[string]string {
	base := []string{"bind 127.0.0.1", "protected-mode no", "appendonly yes", `save ""`, "maxmemory 50mb"}
	return map[string]string{"redis.conf": strings.Join(append(base, settings...), "\n") + "\n"}
}

func newRedisFixture(t *testing.T) *fixture {
	t.Helper()
	redistest.Require(t)
	return newFixtureOf(t, dbv1.Redis)
}

// redisClient is a client of the network.
func (f *fixture) redisClient(password string) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + strconv.Itoa(f.port), Username: "app", Password: password, MaxRetries: -1, PoolSize: 1000})
	f.t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestRedisFromNothingToItsEnd(t *testing.T) {
	f := newRedisFixture(t)
	status := f.provision(redisConfig())
	if status.Role != dbv1.RolePrimary || status.ServerVersion == "" || status.DataID == "" {
		t.Errorf("the status is %+v", status)
	}
	f.must(f.redisClient("first-password").Set(t.Context(), "a", "1", 0).Err())
	if code, body := f.get("/readyz"); code != 200 {
		t.Errorf("readiness: %d %s", code, body)
	}

	apply := func(files map[string]string) {
		hash := f.mount(files)
		f.change(func(spec *dbv1.DatabaseInstanceSpec) { spec.ConfigHash = hash })
	}
	apply(redisConfig("timeout 300", "databases 32"))
	status = f.await("a setting that waits for a restart", func(s *dbv1.DatabaseInstanceStatus) bool { return len(s.PendingRestart) > 0 })
	if len(status.PendingRestart) != 1 || status.PendingRestart[0] != "databases" {
		t.Errorf("waiting for a restart: %v", status.PendingRestart)
	}
	f.change(func(spec *dbv1.DatabaseInstanceSpec) {
		spec.Operation = &dbv1.InstanceOperation{ID: "r1", Kind: dbv1.OperationRestart}
	})
	f.await("the restart", func(s *dbv1.DatabaseInstanceStatus) bool {
		return s.Operation != nil && s.Operation.Phase == dbv1.OperationSucceeded && len(s.PendingRestart) == 0 && settled(s)
	})
	session := f.redisClient("first-password")
	f.must(session.Do(t.Context(), "select", 31).Err())

	apply(redisConfig("timeout 300", "databases 32", "maxmemory-policy sometimes"))
	status = f.await("the refusal", func(s *dbv1.DatabaseInstanceStatus) bool {
		c := meta.FindStatusCondition(s.Conditions, dbv1.ConditionConfigApplied)
		return c != nil && c.Reason == dbv1.ReasonConfigRefused
	})
	if c := meta.FindStatusCondition(status.Conditions, dbv1.ConditionConfigApplied); !strings.Contains(c.Message, "maxmemory-policy") || !status.Ready {
		t.Errorf("%+v", c)
	}

	f.setPassword("second-password")
	f.change(func(spec *dbv1.DatabaseInstanceSpec) { spec.Accounts = []dbv1.InstanceAccount{application("2")} })
	f.await("the other password", func(s *dbv1.DatabaseInstanceStatus) bool {
		return settled(s) && s.Accounts[0].PasswordVersion == "2"
	})
	if err := session.Ping(t.Context()).Err(); err != nil {
		t.Errorf("the session was ended: %v", err)
	}
	if err := f.redisClient("first-password").Ping(t.Context()).Err(); err == nil {
		t.Error("the old password lets in")
	}
	for _, text := range []string{"first-password", "second-password"} {
		if strings.Contains(f.log.String(), text) {
			t.Error("a password is in the log")
		}
	}
	if took := f.terminate(); took > 10*time.Second {
		t.Errorf("the end took %s", took)
	}
}

func TestRedisComesBackWithItsAccountsWhileTheAPIServerIsAway(t *testing.T) {
	f := newRedisFixture(t)
	f.provision(redisConfig("appendfsync always"))
	f.must(f.redisClient("first-password").Set(t.Context(), "a", "1", 0).Err())
	f.proxy.setCut(true)
	f.kill()
	f.start()
	f.poll("the engine to serve", func() bool {
		value, err := f.redisClient("first-password").Get(t.Context(), "a").Result()
		return err == nil && value == "1"
	}, func() string { return "it does not" })
	f.proxy.setCut(false)
	f.await("the report of the second start", func(s *dbv1.DatabaseInstanceStatus) bool { return s.EngineStarts >= 2 && settled(s) })
}
