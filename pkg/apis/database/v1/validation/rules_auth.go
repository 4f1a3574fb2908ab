package validation

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

var (
	consulPath    = regexp.MustCompile(`^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$`)
	consulAddress = regexp.MustCompile(`^(https?://)?[A-Za-z0-9.-]+(:[0-9]{1,5})?$`)
	dots          = regexp.MustCompile(`(^|/)[.]{1,2}(/|$)`)
)

// Names that an engine, or the operator in it, has for itself. PostgreSQL shows a session of walreceiver as a
// process of its own of that name, and those are stopped when a replica must not receive any more.
var (
	reservedUsers = map[dbv1.Engine][]string{
		dbv1.PostgreSQL:    {"postgres", "public", "none", "replication", "db_replication", "walreceiver", "monitoring", "backup", "operator"},
		dbv1.MongoDB:       {"admin", "root", "replication", "monitoring", "backup", "operator", "__system"},
		dbv1.Redis:         {"default", "replication", "monitoring", "backup", "operator"},
		dbv1.Elasticsearch: {"elastic", "kibana", "kibana_system", "logstash_system", "beats_system", "apm_system", "remote_monitoring_user", "monitoring", "backup", "operator"},
		dbv1.SQLite:        {"monitoring", "backup", "operator"},
	}
	reservedDatabases = map[dbv1.Engine][]string{
		dbv1.PostgreSQL: {"postgres", "template0", "template1"},
		dbv1.MongoDB:    {"admin", "local", "config"},
	}
)

// username is the form of spec.auth.username, and of spec.auth.database; usernameLength is the limit of the first.
var username = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

const usernameLength = 61

// Username says which rule the name of an application account breaks, and nothing for one that breaks
// none. It is for names that are not in a spec, whose schema and rules are the same.
func Username(engine dbv1.Engine, name string) string {
	switch {
	case len(name) > usernameLength || !username.MatchString(name):
		return fmt.Sprintf("must have at most %d characters: a letter or _, then letters, digits, _ or -", usernameLength)
	case slices.Contains(reservedUsers[engine], name), engine == dbv1.PostgreSQL && strings.HasPrefix(name, "pg_"):
		return "must not be the name of an account that " + string(engine) + " or the operator has for itself"
	}
	return ""
}

// authRules are about the application account, Consul and rotation.
var authRules = []Rule{
	{
		ID: "username-form", Paths: []string{"spec.auth"},
		CEL: `!has(self.username) || self.username.matches('^[A-Za-z_][A-Za-z0-9_-]*$')`,
		Message: "spec.auth.username must be a letter or _, then letters, digits, _ or -, because it stands in URIs and files unquoted; " +
			"write it as order_service, or leave it out for app",
		Check: func(s *subject) {
			name := authOf(s.spec).Username
			s.refuse(name != "" && !username.MatchString(name), "spec.auth.username", name)
		},
	},
	{
		ID: "database-form", Paths: []string{"spec.auth"},
		CEL: `!has(self.database) || self.database.matches('^[A-Za-z_][A-Za-z0-9_-]*$')`,
		Message: "spec.auth.database must be a letter or _, then letters, digits, _ or -, because it stands in the URI that clients get; " +
			"write it as orders, or leave it out for the account's name",
		Check: func(s *subject) {
			name := authOf(s.spec).Database
			s.refuse(name != "" && !username.MatchString(name), "spec.auth.database", name)
		},
	},
	userRule(dbv1.PostgreSQL, `'postgres', 'public', 'none', 'replication', 'db_replication', 'walreceiver', 'monitoring', 'backup', 'operator'`),
	{
		ID: "username-pg", Paths: []string{"spec"},
		CEL: `self.engine != 'PostgreSQL' || !has(self.auth) || ((!has(self.auth.username) || !self.auth.username.startsWith('pg_')) && (!has(self.auth.database) || !self.auth.database.startsWith('pg_')))`,
		Message: "spec.auth.username and spec.auth.database must not begin with pg_, because PostgreSQL keeps those names for itself; " +
			"choose another, as app",
		Check: func(s *subject) {
			if s.spec.Engine == dbv1.PostgreSQL && s.spec.Auth != nil {
				s.refuse(strings.HasPrefix(s.spec.Auth.Username, "pg_"), "spec.auth.username", s.spec.Auth.Username)
				s.refuse(strings.HasPrefix(s.spec.Auth.Database, "pg_"), "spec.auth.database", s.spec.Auth.Database)
			}
		},
	},
	userRule(dbv1.MongoDB, `'admin', 'root', 'replication', 'monitoring', 'backup', 'operator', '__system'`),
	userRule(dbv1.Redis, `'default', 'replication', 'monitoring', 'backup', 'operator'`),
	userRule(dbv1.Elasticsearch, `'elastic', 'kibana', 'kibana_system', 'logstash_system', 'beats_system', 'apm_system', 'remote_monitoring_user', 'monitoring', 'backup', 'operator'`),
	userRule(dbv1.SQLite, `'monitoring', 'backup', 'operator'`),
	databaseRule(dbv1.PostgreSQL, `'postgres', 'template0', 'template1'`),
	databaseRule(dbv1.MongoDB, `'admin', 'local', 'config'`),
	{
		ID: "username-immutable", Paths: []string{"spec"},
		CEL: `!has(self.auth) || !has(self.auth.username) || self.auth.username == (has(oldSelf.auth) && has(oldSelf.auth.username) ? oldSelf.auth.username : 'app')`,
		Message: "spec.auth.username cannot be changed, because the account and what it owns keep their name; " +
			"set it back or leave it out, or load a dump into a new Database",
		Check: func(s *subject) {
			if name := authOf(s.spec).Username; name != "" && s.Old != nil {
				s.refuse(name != dbv1.Username(s.Old), "spec.auth.username", name)
			}
		},
	},
	{
		ID: "database-immutable", Paths: []string{"spec"},
		CEL: `self.engine in ['Redis', 'Elasticsearch'] || !has(self.auth) || !has(self.auth.database) || self.auth.database == (!has(oldSelf.auth) ? 'app' : has(oldSelf.auth.database) ? oldSelf.auth.database : has(oldSelf.auth.username) ? oldSelf.auth.username : 'app')`,
		Message: "spec.auth.database cannot be changed, because clients would be sent to another, empty database; " +
			"set it back or leave it out, or load a dump into a new Database",
		Check: func(s *subject) {
			if name := authOf(s.spec).Database; name != "" && s.Old != nil && hasDatabases(s.spec.Engine) {
				s.refuse(name != dbv1.DatabaseName(s.Old), "spec.auth.database", name)
			}
		},
	},
	{
		ID:      "username-account",
		Message: "spec.auth.username must be the name of the account that was made, because the account and what it owns keep their name",
		Check: func(s *subject) {
			s.isAsMade("spec.auth.username", authOf(s.spec).Username, s.Username)
		},
	},
	{
		ID:      "database-account",
		Message: "spec.auth.database must be the database that was made with the account, because clients would be sent to another, empty one",
		Check: func(s *subject) {
			if hasDatabases(s.spec.Engine) {
				s.isAsMade("spec.auth.database", authOf(s.spec).Database, s.DatabaseName)
			}
		},
	},
	{
		ID: "rotation-schedule", Paths: []string{"spec.auth.rotationPolicy"},
		CEL: `!has(self.enabled) || !self.enabled || (has(self.schedule) && size(self.schedule) > 0)`,
		Message: "spec.auth.rotationPolicy.schedule is required when rotation is enabled, because nothing else says when the password changes; " +
			`set it, as "0 3 1 * *" for every month`,
		Check: func(s *subject) {
			r := dbv1.Rotation(s.db)
			s.refuse(r != nil && r.Schedule == "", "spec.auth.rotationPolicy.schedule", "")
		},
	},
	{
		ID:      "rotation-cron",
		Message: "spec.auth.rotationPolicy.schedule must be a time that comes",
		Check: func(s *subject) {
			if a := s.spec.Auth; a != nil && a.RotationPolicy != nil {
				s.cron("spec.auth.rotationPolicy.schedule", a.RotationPolicy.Schedule)
				s.timeZone("spec.auth.rotationPolicy.timeZone", a.RotationPolicy.TimeZone)
			}
		},
	},
	{
		ID: "consul-path", Paths: []string{"spec.auth.consul"},
		CEL: `!has(self.path) || size(self.path) == 0 || (self.path.matches('^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$') && !self.path.matches('(^|/)[.]{1,2}(/|$)'))`,
		Message: "spec.auth.consul.path must be a Consul key (letters, digits, _, . and -, with single slashes between them, none at the ends, and no . or .. alone); " +
			"write it as database/credentials/my-database",
		Check: func(s *subject) {
			if c := consulOf(s.spec); c != nil {
				s.refuse(c.Path != "" && (!consulPath.MatchString(c.Path) || dots.MatchString(c.Path)), "spec.auth.consul.path", c.Path)
			}
		},
	},
	{
		ID: "consul-prefix",
		Message: "spec.auth.consul.path must be below a prefix that the operator allows to this namespace, " +
			"because another namespace's credentials are beside it",
		Check: func(s *subject) {
			c := consulOf(s.spec)
			if c == nil || c.Path == "" || len(s.ConsulPrefixes) == 0 {
				return
			}
			prefixes := make([]string, len(s.ConsulPrefixes))
			for i, p := range s.ConsulPrefixes {
				prefixes[i] = strings.TrimSuffix(strings.ReplaceAll(p, "{namespace}", s.db.Namespace), "/") + "/"
			}
			if !slices.ContainsFunc(prefixes, func(p string) bool { return p == "/" || strings.HasPrefix(c.Path, p) }) {
				s.refuseWith("spec.auth.consul.path", c.Path,
					fmt.Sprintf("%s; begin it with %s", s.rule.Message, strings.Join(prefixes, " or ")))
			}
		},
	},
	{
		ID: "consul-address", Paths: []string{"spec.auth.consul"},
		CEL: `!has(self.address) || size(self.address) == 0 || self.address.matches('^(https?://)?[A-Za-z0-9.-]+(:[0-9]{1,5})?$')`,
		Message: `spec.auth.consul.address must be a host with an optional scheme and port, as "consul.example.com:8500" or "https://consul.example.com"; ` +
			"put the key into spec.auth.consul.path",
		Check: func(s *subject) {
			if c := consulOf(s.spec); c != nil {
				s.refuse(c.Address != "" && (!consulAddress.MatchString(c.Address) || !portFits(c.Address)), "spec.auth.consul.address", c.Address)
			}
		},
	},
	{
		ID: "consul-scheme", Paths: []string{"spec.auth.consul"},
		CEL: `!has(self.scheme) || !has(self.address) || !self.address.startsWith('http') || !self.address.contains('://') || self.address.startsWith(self.scheme + '://')`,
		Message: "spec.auth.consul.scheme must be that of spec.auth.consul.address when both have one, because only one can be used; " +
			"keep one of the two",
		Check: func(s *subject) {
			if c := consulOf(s.spec); c != nil {
				scheme, _, has := strings.Cut(c.Address, "://")
				s.refuse(has && c.Scheme != "" && scheme != c.Scheme, "spec.auth.consul.scheme", c.Scheme)
			}
		},
	},
}

// userRule reserves user names of an engine. The expression has them as CEL writes them.
func userRule(engine dbv1.Engine, names string) Rule {
	return Rule{
		ID: "username-" + strings.ToLower(string(engine)), Paths: []string{"spec"},
		CEL: `self.engine != '` + string(engine) + `' || !has(self.auth) || !has(self.auth.username) || !(self.auth.username in [` + names + `])`,
		Message: "spec.auth.username must not be the name of an account that " + string(engine) +
			" or the operator has for itself; choose another, as app",
		Check: func(s *subject) {
			if s.spec.Engine == engine {
				s.refuse(slices.Contains(reservedUsers[engine], dbv1.Username(s.db)), "spec.auth.username", dbv1.Username(s.db))
			}
		},
	}
}

// databaseRule reserves database names of an engine.
func databaseRule(engine dbv1.Engine, names string) Rule {
	return Rule{
		ID: "database-" + strings.ToLower(string(engine)), Paths: []string{"spec"},
		CEL: `self.engine != '` + string(engine) + `' || !has(self.auth) || !has(self.auth.database) || !(self.auth.database in [` + names + `])`,
		Message: "spec.auth.database must not be a database that " + string(engine) +
			" has for itself; choose another, or leave it out for the account's name",
		Check: func(s *subject) {
			if s.spec.Engine == engine {
				s.refuse(slices.Contains(reservedDatabases[engine], dbv1.DatabaseName(s.db)), "spec.auth.database", dbv1.DatabaseName(s.db))
			}
		},
	}
}

// isAsMade refuses a name in the spec that is not the one that was made, when that is known. The API server lets
// nobody change the name that a spec has, so that setting it right is no remedy.
func (s *subject) isAsMade(path, name, made string) {
	if name != "" && made != "" && name != made {
		s.refuseWith(path, name, fmt.Sprintf("%s; leave it out, and it stays %s, or load a dump into a new Database of another name", s.rule.Message, made))
	}
}

// hasDatabases is false for engines that ignore spec.auth.database.
func hasDatabases(engine dbv1.Engine) bool {
	return engine != dbv1.Redis && engine != dbv1.Elasticsearch
}

func authOf(spec *dbv1.DatabaseSpec) dbv1.AuthSpec {
	if spec.Auth == nil {
		return dbv1.AuthSpec{}
	}
	return *spec.Auth
}

func consulOf(spec *dbv1.DatabaseSpec) *dbv1.ConsulSpec {
	if spec.Auth == nil {
		return nil
	}
	return spec.Auth.Consul
}

// portFits says whether the port of an address, if it has one, is a port.
func portFits(address string) bool {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	if u.Port() == "" {
		return true
	}
	port, err := strconv.Atoi(u.Port())
	return err == nil && port > 0 && port <= 65535
}
