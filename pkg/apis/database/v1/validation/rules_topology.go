package validation

import (
	"slices"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// topologyRules are about the number of instances and what they are to each other.
var topologyRules = []Rule{
	{
		ID: "mode-postgresql", Paths: []string{"spec"},
		CEL: `self.engine != 'PostgreSQL' || self.topology.mode in ['Standalone', 'Replicated']`,
		Message: "spec.topology.mode must be Standalone or Replicated for PostgreSQL, because it has no other; " +
			"use Replicated for replicas with failover",
		Check: modes(dbv1.PostgreSQL, dbv1.Standalone, dbv1.Replicated),
	},
	{
		ID: "mode-mongodb", Paths: []string{"spec"},
		CEL: `self.engine != 'MongoDB' || self.topology.mode in ['Standalone', 'Replicated', 'Sharded']`,
		Message: "spec.topology.mode must be Standalone, Replicated or Sharded for MongoDB, because it has no other; " +
			"use Sharded to spread data over several replica sets",
		Check: modes(dbv1.MongoDB, dbv1.Standalone, dbv1.Replicated, dbv1.Sharded),
	},
	{
		ID: "mode-redis", Paths: []string{"spec"},
		CEL: `self.engine != 'Redis' || self.topology.mode in ['Standalone', 'Replicated', 'Cluster']`,
		Message: "spec.topology.mode must be Standalone, Replicated or Cluster for Redis, because it has no other; " +
			"use Cluster, for Redis Cluster, to spread data over several shards",
		Check: modes(dbv1.Redis, dbv1.Standalone, dbv1.Replicated, dbv1.Cluster),
	},
	{
		ID: "mode-elasticsearch", Paths: []string{"spec"},
		CEL: `self.engine != 'Elasticsearch' || self.topology.mode == 'Cluster'`,
		Message: "spec.topology.mode must be Cluster for Elasticsearch, because it always runs as a cluster; " +
			"set mode: Cluster and replicas: 3 or more",
		Check: modes(dbv1.Elasticsearch, dbv1.Cluster),
	},
	{
		ID: "mode-sqlite", Paths: []string{"spec"},
		CEL: `self.engine != 'SQLite' || self.topology.mode == 'Standalone'`,
		Message: "spec.topology.mode must be Standalone for SQLite, because its file has one server; " +
			"use PostgreSQL where replicas are needed",
		Check: modes(dbv1.SQLite, dbv1.Standalone),
	},
	{
		ID: "replicas-range", Paths: []string{"spec.topology"},
		CEL: `self.replicas >= 1 && self.replicas <= 50`,
		Message: "spec.topology.replicas must be between 1 and 50, because without an instance there is no database, and more were never tried; " +
			"set it in there, or delete the Database, which keeps its volumes unless spec.lifecycle.deletionPolicy is Delete",
		Check: func(s *subject) {
			// 0 is the default, which is 1.
			s.refuse(s.spec.Topology.Replicas < 0 || s.spec.Topology.Replicas > 50, "spec.topology.replicas", s.spec.Topology.Replicas)
		},
	},
	{
		ID: "standalone-replicas", Paths: []string{"spec.topology"},
		CEL: `self.mode != 'Standalone' || self.replicas == 1`,
		Message: "spec.topology.replicas must be 1 in mode Standalone, because that is one instance; " +
			"set mode: Replicated, where the engine has it, for more",
		Check: func(s *subject) {
			s.refuse(dbv1.Mode(s.db) == dbv1.Standalone && dbv1.Replicas(s.db) != 1, "spec.topology.replicas", s.spec.Topology.Replicas)
		},
	},
	{
		ID: "elasticsearch-replicas", Paths: []string{"spec"},
		CEL: `self.engine != 'Elasticsearch' || self.topology.replicas >= 3`,
		Message: "spec.topology.replicas must be 3 or more for Elasticsearch, because fewer nodes have no majority once one is lost; " +
			"set it to 3",
		Check: func(s *subject) {
			s.refuse(s.spec.Engine == dbv1.Elasticsearch && dbv1.Replicas(s.db) < 3, "spec.topology.replicas", s.spec.Topology.Replicas)
		},
	},
	{
		ID: "mongodb-replicas", Paths: []string{"spec"},
		CEL: `self.engine != 'MongoDB' || self.topology.replicas > 7 || (self.topology.replicas % 2 == 1 && (self.topology.mode != 'Replicated' || self.topology.replicas >= 3))`,
		Message: "spec.topology.replicas must be 3, 5, 7 or more for a replicated MongoDB (or 1 in a shard), " +
			"because an even number of voters can split in halves; choose the next odd number",
		Check: func(s *subject) {
			n := dbv1.Replicas(s.db)
			good := n > 7 || (n%2 == 1 && (dbv1.Mode(s.db) != dbv1.Replicated || n >= 3))
			s.refuse(s.spec.Engine == dbv1.MongoDB && !good, "spec.topology.replicas", n)
		},
	},
	{
		ID: "redis-cluster-shards", Paths: []string{"spec"},
		CEL: `self.engine != 'Redis' || self.topology.mode != 'Cluster' || (has(self.topology.shards) && self.topology.shards >= 3)`,
		Message: "spec.topology.shards must be 3 or more for Redis Cluster, because fewer masters cannot elect; " +
			"set it to 3, or use mode: Replicated for data that fits one instance",
		Check: func(s *subject) {
			s.refuse(s.spec.Engine == dbv1.Redis && dbv1.Mode(s.db) == dbv1.Cluster && s.spec.Topology.Shards < 3,
				"spec.topology.shards", s.spec.Topology.Shards)
		},
	},
	{
		ID: "mongodb-shards", Paths: []string{"spec.topology"},
		CEL: `self.mode != 'Sharded' || (has(self.shards) && self.shards >= 1)`,
		Message: "spec.topology.shards must be 1 or more in mode Sharded, because data lives in shards alone; " +
			"set it to the number of replica sets",
		Check: func(s *subject) {
			s.refuse(dbv1.Mode(s.db) == dbv1.Sharded && s.spec.Topology.Shards < 1, "spec.topology.shards", s.spec.Topology.Shards)
		},
	},
	{
		ID: "shards-elsewhere", Paths: []string{"spec"},
		CEL: `!has(self.topology.shards) || self.topology.shards == 0 || self.topology.mode == 'Sharded' || (self.engine == 'Redis' && self.topology.mode == 'Cluster')`,
		Message: "spec.topology.shards must be 0 except in mode Cluster of Redis and Sharded of MongoDB, " +
			"because nothing else has shards; remove it",
		Check: func(s *subject) {
			mode := dbv1.Mode(s.db)
			sharded := mode == dbv1.Sharded || (s.spec.Engine == dbv1.Redis && mode == dbv1.Cluster)
			s.refuse(s.spec.Topology.Shards != 0 && !sharded, "spec.topology.shards", s.spec.Topology.Shards)
		},
	},
	{
		ID: "mode-change", Paths: []string{"spec.topology"},
		CEL: `self.mode == oldSelf.mode || (oldSelf.mode == 'Standalone' && self.mode == 'Replicated')`,
		Message: "spec.topology.mode can change in place only from Standalone to Replicated, because other changes lay data out anew; " +
			"back up, and restore into a new Database",
		Check: func(s *subject) {
			if s.Old == nil {
				return
			}
			before, after := dbv1.Mode(s.Old), dbv1.Mode(s.db)
			s.refuse(before != after && (before != dbv1.Standalone || after != dbv1.Replicated), "spec.topology.mode", after)
		},
	},
	{
		ID: "synchronous-replicas", Paths: []string{"spec"},
		CEL: `!has(self.highAvailability) || !has(self.highAvailability.synchronousReplicas) || self.highAvailability.synchronousReplicas < self.topology.replicas`,
		Message: "spec.highAvailability.synchronousReplicas must be less than spec.topology.replicas, because the primary does not wait for itself; " +
			"lower it, or add replicas",
		Check: func(s *subject) {
			n := dbv1.HighAvailability(s.db).SynchronousReplicas
			s.refuse(n >= dbv1.Replicas(s.db), "spec.highAvailability.synchronousReplicas", n)
		},
	},
}

// modes allows an engine only the given modes.
func modes(engine dbv1.Engine, allowed ...dbv1.TopologyMode) func(*subject) {
	return func(s *subject) {
		mode := dbv1.Mode(s.db)
		s.refuse(s.spec.Engine == engine && !slices.Contains(allowed, mode), "spec.topology.mode", mode)
	}
}
