//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platform-io/database-operator/hack/e2e/env"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// redis makes a small Database one of Redis.
func redis(db *dbv1.Database) { db.Spec.Engine, db.Spec.Version = dbv1.Redis, "7.0" }

func onlyBy(policy string) func(*dbv1.Database) { return config("maxmemory-policy", policy) }

// do runs a command from the client's pod, through the Service, with the credentials of the Secret.
func (s *scope) do(name string, command ...string) string {
	s.Helper()
	output, err := s.tryDo(name, command...)
	s.ok(err)
	return output
}

func (s *scope) tryDo(name string, command ...string) (string, error) {
	s.Helper()
	uri, err := cluster.URI(s.ctx, s.namespace, name)
	s.ok(err)
	return s.redisClient().Do(s.ctx, uri, command...) //nolint:wrapcheck // it says what it is
}

func (s *scope) redisClient() *env.Client {
	s.Helper()
	if s.redisCLI == nil {
		client, err := cluster.StartClient(s.ctx, s.namespace, env.RedisCLI)
		s.ok(err)
		s.redisCLI = client
	}
	return s.redisCLI
}

// info is a line of what the server says of itself.
func (s *scope) info(name, section, key string) string {
	s.Helper()
	for line := range strings.Lines(s.do(name, "info", section)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+":"); ok {
			return value
		}
	}
	s.Fatalf("section %s has no %s", section, key)
	return ""
}

func TestRedisIsProvisionedAndLetsInFromAnotherPodThroughTheService(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"7.0", "8"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := newScope(t)
			db := s.provision(standalone("cache", redis, func(db *dbv1.Database) { db.Spec.Version = version }))
			same(s, "a write", s.do("cache", "set", "greeting", "hello"), "OK")
			same(s, "a read", s.do("cache", "get", "greeting"), "hello")

			same(s, "ready", db.Status.Ready, "1/1")
			same(s, "the version", db.Status.CurrentVersion, version)
			if db.Status.Primary == nil || db.Status.Primary.Name != "cache-0" {
				t.Errorf("the primary is %v", db.Status.Primary)
			}
			if got := s.info("cache", "server", "redis_version"); !strings.HasPrefix(got, version) || got != s.instance("cache").Status.ServerVersion {
				t.Errorf("the server is %s, and its instance says %s", got, s.instance("cache").Status.ServerVersion)
			}
			secret := s.secret("cache-credentials")
			for _, key := range []string{"type", "provider", "host", "port", "username", "password", "database", "uri"} {
				if len(secret.Data[key]) == 0 {
					t.Errorf("the Secret has no %s", key)
				}
			}
			same(s, "the user", s.do("cache", "acl", "whoami"), string(secret.Data["username"]))
			// 70 % of the 256Mi of profile dev.
			same(s, "maxmemory", s.info("cache", "memory", "maxmemory"), "187904780")
			same(s, "the append-only file", s.info("cache", "persistence", "aof_enabled"), "1")
			s.noPasswordIsShown("cache", string(secret.Data["password"]))
			s.letsNobodyElseIn("cache")
		})
	}
}

// letsNobodyElseIn tries without the password, and what is not an application's.
func (s *scope) letsNobodyElseIn(name string) {
	s.Helper()
	host := string(s.secret(name + "-credentials").Data["host"])
	for _, uri := range []string{"redis://" + host + ":6379", "redis://default:x@" + host + ":6379", "redis://app:wrong@" + host + ":6379", "redis://operator:x@" + host + ":6379"} {
		if output, err := s.redisClient().Do(s.ctx, uri, "get", "greeting"); err == nil {
			s.Errorf("%s was let in: %s", uri, output)
		}
	}
	for _, command := range []string{"config get dir", "acl list", "shutdown", "replicaof no one"} {
		if output, err := s.tryDo(name, strings.Fields(command)...); err == nil || !strings.Contains(output+err.Error(), "NOPERM") {
			s.Errorf("%s: %s, %v", command, output, err)
		}
	}
}

func TestAUsersOwnCredentialsAreUsedByRedis(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.makeSecret("cache-credentials", map[string]string{"username": "alice", "password": "it's a \\ long % secret"})
	s.provision(standalone("cache", redis))
	same(s, "the user", s.do("cache", "acl", "whoami"), "alice")
}

func TestRedisSettingsAreSetLiveOrWithOneRestart(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("cache", redis))
	s.do("cache", "set", "kept", "1")
	want := s.life("cache")
	policy := func() string { return s.info("cache", "memory", "maxmemory_policy") }

	s.edit("cache", onlyBy("allkeys-lru"))
	s.ready("cache")
	same(s, "maxmemory-policy", policy(), "allkeys-lru")
	same(s, "pod and engine after a live change", s.life("cache"), want)

	if _, err := s.tryDo("cache", "select", "20"); err == nil {
		t.Error("there are more databases than by default")
	}
	s.edit("cache", func(db *dbv1.Database) {
		config("databases", "32")(db)
		onlyBy("volatile-ttl")(db)
	})
	s.ready("cache")
	same(s, "database 20", s.do("cache", "select", "20"), "OK")
	same(s, "maxmemory-policy", policy(), "volatile-ttl")
	want.starts++
	same(s, "pod and engine after one that needs a restart", s.life("cache"), want)

	s.edit("cache", func(db *dbv1.Database) { db.Spec.EngineConfig = nil })
	s.ready("cache")
	same(s, "maxmemory-policy", policy(), "noeviction")
	want.starts++
	same(s, "pod and engine after the way back", s.life("cache"), want)
	same(s, "the key", s.do("cache", "get", "kept"), "1")
}

func TestChangesOfARedisThatAreNotSettings(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("cache", redis, deletionPolicy(dbv1.DeletionDelete), config("maxmemory", "100mb")))
	s.do("cache", "set", "kept", "1")
	before := s.life("cache")

	s.edit("cache", func(db *dbv1.Database) { db.Spec.Storage.Size = new(resource.MustParse("1536Mi")) })
	// The kubelet grows the file system, when it comes to it.
	s.wait(provisionTimeout, "the volume to grow", func() (string, error) {
		return differs(s.claim("cache").Status.Capacity.Storage().String(), "1536Mi"), nil
	})
	s.ready("cache")
	same(s, "pod and engine after the volume grew", s.life("cache"), before)

	s.edit("cache", paused(true))
	s.until("cache", "the pause", changeTimeout, func(db *dbv1.Database) string { return differs(string(db.Status.Phase), string(dbv1.PhasePaused)) })
	s.edit("cache", withoutConfig("maxmemory"))
	s.until("cache", "the operator to see the change", changeTimeout, func(db *dbv1.Database) string { return differs(string(db.Status.Phase), string(dbv1.PhasePaused)) })
	same(s, "maxmemory while paused", s.info("cache", "memory", "maxmemory"), "104857600")
	s.edit("cache", paused(false))
	s.ready("cache")
	same(s, "maxmemory after the pause", s.info("cache", "memory", "maxmemory"), "187904780")
	same(s, "pod and engine after the pause", s.life("cache"), before)

	// Much more memory than there is now, which only the next pod has.
	s.edit("cache", func(db *dbv1.Database) {
		db.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("600Mi")}}
	})
	s.ready("cache")
	if s.pod("cache").UID == corev1Pod(before) {
		t.Error("the pod was not restarted")
	}
	same(s, "maxmemory with more memory", s.info("cache", "memory", "maxmemory"), "440401920")
	same(s, "the key", s.do("cache", "get", "kept"), "1")

	tomorrow := time.Now().UTC().Add(24 * time.Hour)
	before = s.life("cache")
	s.edit("cache", func(db *dbv1.Database) {
		db.Spec.Maintenance = &dbv1.MaintenanceSpec{Windows: []dbv1.MaintenanceWindow{{
			DayOfWeek: int32(tomorrow.Weekday()), StartTime: "12:00", Duration: metav1.Duration{Duration: time.Hour},
		}}}
		config("databases", "8")(db)
		onlyBy("allkeys-lru")(db)
	})
	s.untilReason("cache", dbv1.ConditionUpToDate, dbv1.ReasonRestartPending)
	same(s, "the setting that needs no restart", s.info("cache", "memory", "maxmemory_policy"), "allkeys-lru")
	same(s, "pod and engine outside of the window", s.life("cache"), before)

	s.remove("cache")
	s.wait(changeTimeout, "volumes and Secrets to go", func() (string, error) {
		return cluster.Kubectl(s.ctx, "", "get", "persistentvolumeclaims,secrets,statefulsets,databaseinstances.db.platform.io", "--namespace", s.namespace, "--output=name")
	})
}

func differs(is, want string) string {
	if is == want {
		return ""
	}
	return "it is " + is
}

func TestRefusedRedisSettingKeepsTheLastGoodOnes(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("cache", redis, config("timeout", "3000"), onlyBy("allkeys-lfu")))
	before := s.life("cache")
	for name, value := range map[string]string{"maxmemory-policy": "sometimes", "no-such-setting": "1", "databases": "many"} {
		s.edit("cache", func(db *dbv1.Database) {
			config(name, value)(db)
			config("timeout", "7")(db)
		})
		message := s.untilReason("cache", dbv1.ConditionUpToDate, dbv1.ReasonConfigRefused)
		if !strings.Contains(message, name) {
			t.Errorf("the condition does not name the setting %s: %q", name, message)
		}
		same(s, "maxmemory-policy", s.info("cache", "memory", "maxmemory_policy"), "allkeys-lfu")
		same(s, "ready", s.database("cache").Status.Ready, "1/1")
		same(s, "pod and engine", s.life("cache"), before)
		s.edit("cache", func(db *dbv1.Database) {
			delete(db.Spec.EngineConfig, name)
			config("timeout", "3000")(db)
			onlyBy("allkeys-lfu")(db)
		})
		s.ready("cache")
	}
	same(s, "pod and engine", s.life("cache"), before)
	s.edit("cache", config("maxmemory", "1gb"))
	if message := s.untilReason("cache", dbv1.ConditionValidated, dbv1.ReasonInvalidSpec); !strings.Contains(message, "spec.engineConfig[maxmemory]") || !strings.Contains(message, "256Mi") {
		t.Errorf("the condition does not say how much there is: %q", message)
	}
	s.edit("cache", withoutConfig("maxmemory"))
	s.ready("cache")
	same(s, "pod and engine", s.life("cache"), before)
}

func TestARedisThatIsKilledHasWhatItAcknowledged(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("cache", redis, config("appendfsync", "always")))
	// A script is one command: what it wrote was acknowledged when it returns. In the append-only file it is a transaction.
	const write = "for i = 1, 5000 do redis.call('set', KEYS[1] .. i, i) end return redis.call('dbsize')"
	same(s, "keys", s.do("cache", "eval", write, "1", "first-"), "5000")
	pod := s.pod("cache")
	if cluster.Local {
		same(s, "keys", s.do("cache", "eval", write, "1", "second-"), "10000")
		same(s, "servers that were killed", s.kill(pod.UID, "redis-server"), 1)
		s.wait(changeTimeout, "the engine to be started again", func() (string, error) {
			if output, err := s.tryDo("cache", "dbsize"); err != nil || output != "10000" {
				return output, err
			}
			return "", nil
		})
	} else {
		s.do("cache", "eval", write, "1", "second-")
	}
	s.ok(cluster.Kube.CoreV1().Pods(s.namespace).Delete(s.ctx, "cache-0", metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
	s.wait(provisionTimeout, "another pod", func() (string, error) {
		if s.instance("cache").Status.PodUID == string(pod.UID) || !s.instance("cache").Status.Ready {
			return "it is not ready", nil
		}
		return "", nil
	})
	s.ready("cache")
	same(s, "keys in another pod", s.do("cache", "dbsize"), "10000")
	same(s, "a key", s.do("cache", "get", "second-5000"), "5000")
}

func TestRetainKeepsARedisForTheNextOfThatName(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	first := s.provision(standalone("cache", redis))
	s.do("cache", "set", "kept", "yes")
	claim, password := s.claim("cache").UID, string(s.secret("cache-credentials").Data["password"])
	s.remove("cache")

	second := s.provision(standalone("cache", redis))
	if first.UID == second.UID {
		t.Fatal("it is the same Database")
	}
	same(s, "the key", s.do("cache", "get", "kept"), "yes")
	same(s, "the volume of the second", s.claim("cache").UID, claim)
	same(s, "the password of the second", string(s.secret("cache-credentials").Data["password"]), password)
	same(s, "the identity", second.Status.EngineStatus.Redis.SystemID, first.Status.EngineStatus.Redis.SystemID)

	// Nobody takes it for a PostgreSQL's.
	s.remove("cache")
	s.create(standalone("cache"))
	if message := s.untilReason("cache", dbv1.ConditionProvisioned, dbv1.ReasonAdoptionRequired); !strings.Contains(message, "data-cache-0") || !strings.Contains(message, "Redis") {
		t.Errorf("the condition does not name volume and engine: %q", message)
	}
	s.remove("cache")
	s.provision(standalone("cache", redis))
	same(s, "the key", s.do("cache", "get", "kept"), "yes")
}

func TestARedisWithReplicasSaysThatItIsNotBuiltYet(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	s.provision(standalone("cache", redis))
	before := s.life("cache")
	s.edit("cache", func(db *dbv1.Database) { db.Spec.Topology = dbv1.TopologySpec{Mode: dbv1.Replicated, Replicas: 3} })
	if message := s.untilReason("cache", dbv1.ConditionUpToDate, dbv1.ReasonNotSupported); !strings.Contains(message, "Replicated") {
		t.Errorf("the condition does not say what: %q", message)
	}
	same(s, "a write", s.do("cache", "set", "a", "1"), "OK")
	same(s, "pod and engine", s.life("cache"), before)

	s.create(standalone("sharded", redis, func(db *dbv1.Database) {
		db.Spec.Topology = dbv1.TopologySpec{Mode: dbv1.Cluster, Shards: 3, Replicas: 1}
	}))
	s.untilReason("sharded", dbv1.ConditionReady, dbv1.ReasonNotSupported)
	s.create(standalone("volatile", redis, func(db *dbv1.Database) { db.Spec.Storage = nil }))
	s.untilReason("volatile", dbv1.ConditionReady, dbv1.ReasonNotSupported)
}
