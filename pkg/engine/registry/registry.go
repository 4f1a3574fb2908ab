// Package registry is the list of engines. Adding one is a folder beside this one, and a line here.
package registry

import (
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/engine/postgres"
	"github.com/platform-io/database-operator/pkg/engine/redis"
)

// Engines are the engines that this release runs.
func Engines() map[dbv1.Engine]engine.Engine {
	return map[dbv1.Engine]engine.Engine{
		dbv1.PostgreSQL: postgres.Engine{},
		dbv1.Redis:      redis.Engine{},
	}
}
